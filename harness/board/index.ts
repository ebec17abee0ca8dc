export type * from "./file/model.ts";
export type * from "./live.ts";
export type * from "./observer.ts";
export * from "./protocol.ts";
