export * from "./scenario.ts";
export * from "./target.ts";
