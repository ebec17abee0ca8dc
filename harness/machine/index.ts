export * from "./address.ts";
export * from "./port.ts";
export * from "./registers.ts";
export * from "./scheduler.ts";
