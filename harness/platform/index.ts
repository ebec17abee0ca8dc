export * from "./combination.ts";
export * from "./bench-invoke.ts";
export * from "./bench-vms.ts";
export * from "./emulated.ts";
export { EmulatedContext } from "./emulated-context.ts";
export * from "./emulated-target.ts";
export * from "./reference.ts";
export * from "./scenario.ts";
export * from "./target.ts";
