import { FRAME, numberOf, RPMB_REQUEST } from "../../rpmb/index.ts";
import type { KitRpmb } from "./rpmb-service.ts";

const NAMES = new Map<number, string>([
  [RPMB_REQUEST.PROGRAM_KEY, "key"],
  [RPMB_REQUEST.READ_COUNTER, "counter"],
]);

/**
 * What was asked of the part since the last call: `info`, `key`, `counter`, `r8@2` for a read of eight
 * blocks at index 2, `w1@0` for a write of one at index 0.
 */
export function rpmbTrace(rpmb: KitRpmb): string[] {
  return rpmb.requests.splice(0).map(({ frames, responseFrames }) => {
    if (frames.length === 0) return "info";
    const type = numberOf(frames, FRAME.type);
    const address = numberOf(frames, FRAME.address);
    if (type === RPMB_REQUEST.READ_DATA) return `r${responseFrames}@${address}`;
    if (type === RPMB_REQUEST.WRITE_DATA) {
      return `w${numberOf(frames, FRAME.blockCount)}@${address}`;
    }
    return NAMES.get(type) ?? `type ${type}`;
  });
}
