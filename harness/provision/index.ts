export * from "./key-file/index.ts";
export * from "./verify/index.ts";
