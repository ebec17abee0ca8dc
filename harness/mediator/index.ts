export { benchPageList, type PageListBench } from "./bench.ts";
export * from "./backend.ts";
export * from "./contract.ts";
export { OWN_COOKIE_HIGH } from "./cookies.ts";
export type { Allocation } from "./heap.ts";
export { createHwdomConduit, type HwdomOptions } from "./hwdom.ts";
export { createMediator } from "./mediator.ts";
export { opteeBackEnd } from "./optee/back-end.ts";
export { RULE_SETS, type RuleSet } from "./rules.ts";
