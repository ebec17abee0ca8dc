import { concurrentLargeTa, concurrentTa } from "./concurrent.ts";
import { cryptTa } from "./crypt.ts";
import { osTestTa } from "./os-test.ts";
import { devicePta } from "./pta-device.ts";
import { invokeTestsPta } from "./pta-invoke-tests.ts";
import { socketPta } from "./pta-socket.ts";
import { rpcTestTa } from "./rpc-test.ts";
import { missTa, simsKeepAliveTa, simsTa } from "./sims.ts";
import { createFailTa, largeTa } from "./small.ts";
import { socketTa } from "./socket.ts";
import { storage2Ta, storageTa } from "./storage.ts";
import type { TrustedApplication } from "./ta.ts";

export * from "./concurrent.ts";
export * from "./crypt.ts";
export * from "./image.ts";
export * from "./os-test.ts";
export * from "./pta-device.ts";
export * from "./pta-invoke-tests.ts";
export * from "./pta-socket.ts";
export * from "./rpc-test.ts";
export * from "./sims.ts";
export * from "./small.ts";
export * from "./socket.ts";
export * from "./storage.ts";
export * from "./ta.ts";
export * from "./tee-api.ts";
export * from "./tee-api-storage.ts";

/** The pseudo-TAs of the modelled core. */
export const PSEUDO_TAS: readonly TrustedApplication[] = [
  devicePta(() => PSEUDO_TAS),
  invokeTestsPta,
  socketPta,
];

/** The user TAs whose code the model has. */
export const USER_TAS: readonly TrustedApplication[] = [
  concurrentLargeTa,
  concurrentTa,
  createFailTa,
  cryptTa,
  largeTa,
  missTa,
  osTestTa,
  rpcTestTa,
  simsKeepAliveTa,
  simsTa,
  socketTa,
  storage2Ta,
  storageTa,
];
