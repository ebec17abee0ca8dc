export { changesNothing, channelTo, readOnly, type RpmbChannel } from "./channel.ts";
export {
  type CounterReading,
  judgeCounter,
  type KeyJudgement,
  KEY_VERDICTS,
  type KeyVerdict,
  type NamedKey,
  resultText,
} from "./judge.ts";
export {
  type BlocksRead,
  counterRequest,
  dataRequest,
  freshNonce,
  type NonceSource,
  readBlocks,
  verifyKey,
} from "./reads.ts";
