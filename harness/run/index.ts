export * from "./channel.ts";
export * from "./model.ts";
export * from "./sink.ts";
