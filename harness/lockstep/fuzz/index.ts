export { type Batch, programSeed } from "./batch.ts";
export {
  type CampaignFinding,
  type CampaignOptions,
  type CampaignResult,
  runCampaign,
  shrinkFinding,
} from "./campaign.ts";
export { besideModel, type BothResult, runOnReal } from "./differential/both.ts";
export {
  type DifferentialFinding,
  type DifferentialOptions,
  type DifferentialResult,
  replayDifferential,
  runDifferential,
} from "./differential/campaign.ts";
export { judge, type Verdict } from "./differential/judge.ts";
export type { Plant } from "./differential/plant.ts";
export { forRealMachines } from "./differential/program.ts";
export { corpusFiles, corpusFolder, corpusTitle } from "./corpus.ts";
export { EXCUSES, type Excuse, excusesOf, INVARIANTS, type Invariant } from "./invariants.ts";
export type { Violation } from "./machine.ts";
export type { Program } from "./program.ts";
export { replay } from "./replay.ts";
export { readStored, STORED_FORMAT, type StoredProgram, writeStored } from "./stored.ts";
export { abiReached } from "./summary.ts";
