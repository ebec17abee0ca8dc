export * from "./bundle/index.ts";
export * from "./channel.ts";
export * from "./compare/index.ts";
export * from "./exit-code.ts";
export * from "./lock.ts";
export * from "./model.ts";
export * from "./sink.ts";
export * from "./stress.ts";
