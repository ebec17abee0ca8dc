export { assemble, type BridgeProgram } from "./assemble.ts";
export { ConsoleBridge, type ConsoleBridgeOptions } from "./console-bridge.ts";
export { type LoaderConsole, loaderConsoleOf } from "./loader-console.ts";
export { LoaderPrompt, type LoaderPromptOptions } from "./loader-prompt.ts";
export { type FreeRam, RamWindow } from "./ram-window.ts";
