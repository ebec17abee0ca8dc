export type * from "./file/model.ts";
export type * from "./live.ts";
export * from "./protocol.ts";
