export { benchStartup, type StartupFigures } from "./bench-startup.ts";
