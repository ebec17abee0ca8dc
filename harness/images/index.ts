export { prepareImage } from "./prepare.ts";
export { type BoardProgram, boardProgram } from "./board-program.ts";
export { findPrepared } from "./find.ts";
export { imageTas } from "./tas.ts";
export type {
  ImageManifest,
  PackageRecord,
  PreparedImage,
  PrepareOptions,
  SourceRecord,
} from "./model.ts";
export { imageNames, loadRecipe } from "./recipe.ts";
export { installLine, missingTools, missingToolsFor, type RequiredTool } from "./tools.ts";
