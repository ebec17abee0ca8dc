import { type Deadline, InfrastructureError } from "../../base/index.ts";
import type { CommandProtocol } from "../../board/index.ts";
import { MAX_COUNTER, RPMB_RESULT } from "../../rpmb/index.ts";

/** What somebody else's tool was told by the part. Nothing in it is authenticated. */
export interface CounterClaim {
  /** False where the part said that no key is programmed; undefined where it said neither. */
  readonly programmed: boolean | undefined;
  readonly counter?: { readonly value: number; readonly expired: boolean };
  /** Why such an answer proves nothing. */
  readonly reason: string;
}

const NOT_FOUND = 127;
const REASON =
  "mmc-utils asks with a nonce of zeros and checks no MAC: an answer that was recorded before looks the same";

/** `mmc rpmb read-counter`. Throws InfrastructureError where the board has no mmc-utils or no answer. */
export async function counterByMmcUtils(
  commands: CommandProtocol,
  device: string,
  deadline: Deadline,
  where: string,
): Promise<CounterClaim> {
  const result = await commands.exec(`mmc rpmb read-counter ${device}`, deadline);
  const said = Buffer.concat([result.stdout, result.stderr]).toString("latin1");
  if (result.exitCode === NOT_FOUND) {
    throw new InfrastructureError("mmc-utils is not on the board", {
      where,
      expected: "the program mmc",
      next: "Leave --over mmc-utils out: lockstep brings a helper of its own.",
    });
  }
  const value = /Counter value: 0x([0-9a-f]{8})\b/i.exec(said)?.[1];
  if (value !== undefined && result.exitCode === 0) {
    const counter = Number.parseInt(value, 16);
    return {
      programmed: true,
      counter: { value: counter, expired: counter === MAX_COUNTER },
      reason: REASON,
    };
  }
  const code = /retcode 0x([0-9a-f]{1,4})\b/i.exec(said)?.[1];
  if (code !== undefined) {
    const retcode = Number.parseInt(code, 16);
    const isBlank = (retcode & 0x3f) === RPMB_RESULT.KEY_NOT_PROGRAMMED;
    return { programmed: isBlank ? false : undefined, reason: REASON };
  }
  throw new InfrastructureError("mmc-utils could not read the write counter", {
    where,
    seen: said.trim().replaceAll(/\s+/g, " ").slice(0, 300) || "nothing",
    next: "Check that the device is an RPMB partition and that the board's user is root.",
  });
}
