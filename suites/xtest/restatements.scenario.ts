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
