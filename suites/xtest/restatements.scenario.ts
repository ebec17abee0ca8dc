/**
 * Cases of xtest 4.5 in our own words, for the emulated platform: what a case demands of the TEE,
 * asked of the model. Only cases whose substance the model really exercises are here.
 */
export { regression_1013 } from "./restated-concurrency.ts";
export {
  regression_1001,
  regression_1002,
  regression_1003,
  regression_1005,
  regression_1020,
  regression_1034,
} from "./restated-core.ts";
export { regression_1004, regression_1011 } from "./restated-crypto.ts";
export {
  regression_1007,
  regression_1008,
  regression_1009,
  regression_1012,
  regression_1021,
  regression_1040,
} from "./restated-lifecycle.ts";
export {
  regression_1016,
  regression_1017,
  regression_1018,
  regression_1025,
  regression_1026,
  regression_1027,
  regression_1028,
} from "./restated-memory.ts";
export {
  regression_6001,
  regression_6002,
  regression_6003,
  regression_6004,
  regression_6005,
  regression_6006,
  regression_6007,
  regression_6008,
  regression_6009,
  regression_6010,
} from "./restated-storage.ts";
export {
  regression_6012,
  regression_6013,
  regression_6014,
  regression_6015,
  regression_6016,
  regression_6017,
  regression_6018,
  regression_6019,
  regression_6020,
  regression_6021,
} from "./restated-storage-more.ts";
