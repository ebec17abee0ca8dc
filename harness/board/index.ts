export { benchConsole, type ConsoleBench } from "./bench.ts";
export { checkSchema, type SchemaName } from "./file/check-schema.ts";
export {
  type BoardListing,
  type BoardSearch,
  asError as boardFileError,
  boardDirs,
  boardFileProblem,
  checkBoardFile,
  findBoardFile,
  listBoards,
  listBoardTypes,
  loadBoard,
  missingFiles,
} from "./file/load.ts";
export type * from "./file/model.ts";
export { type BoardFileProblem, readSource, type Source } from "./file/source.ts";
export type * from "./live.ts";
export type * from "./observer.ts";
export { openBoard } from "./open.ts";
export type * from "./options.ts";
export * from "./protocol.ts";
export { readSecret } from "./ssh/credentials.ts";
