export * from "./model.ts";
export * from "./sink.ts";
