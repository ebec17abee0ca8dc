export * from "./errno.ts";
export * from "./ioctl.ts";
export * from "./login.ts";
export * from "./params.ts";
export * from "./structures.ts";
