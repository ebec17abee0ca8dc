export * from "./clock.ts";
export * from "./deadline.ts";
export * from "./errors.ts";
export * from "./exit-codes.ts";
export * from "./paths.ts";
export * from "./progress.ts";
export * from "./random.ts";
export * from "./secrets.ts";
