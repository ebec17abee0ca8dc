export {
  type BoardHelper,
  HELPER_MAX_FRAMES,
  type HelperOptions,
  openBoardHelper,
} from "./board-helper.ts";
export { counterByLoader, type LoaderCommand, type LoaderPart } from "./loader.ts";
export { type CounterClaim, counterByMmcUtils } from "./mmc-utils.ts";
export { type PartFacts, partFacts } from "./part-facts.ts";
