export * from "./age.ts";
export * from "./key-file.ts";
