import { mkdtemp, rm } from "node:fs/promises";
import path from "node:path";
import { UsageError } from "../../../base/index.ts";
import type { BoardConfig } from "../../../board/index.ts";
import { BridgedTarget, transportOf } from "../../../platform/index.ts";
import {
  FRAME,
  framesAuthentic,
  FRAME_SIZE,
  keyId,
  type KeyJudgement,
  type NamedKey,
  numberOf,
  RPMB_REQUEST,
} from "../../../rpmb/index.ts";
import type { CliContext } from "../../context.ts";
import { openBoardForCli } from "../../open-board.ts";
import { ramFolder, tasOf } from "../../run-loop/bridged-run.ts";

const SCENARIO = "rpmb/proof#asBuilt";

/** What an OP-TEE did with a blank part that Lockstep served to it. */
export interface OpteeTraffic {
  /** Its first authenticated write in hex; empty where it made none. */
  readonly write: string;
  /** Whether the part took that write: MAC and counter were right. */
  readonly taken: boolean;
  /** Counter reads that it made. */
  readonly reads: number;
  /** Id of the key that it programmed; empty where it programmed none. */
  readonly programmed: string;
  /** The result that its client got. */
  readonly code: number;
  readonly counter: number;
}

/**
 * Has the board's real OP-TEE use its RPMB storage, over the bridge, on a blank part with this CID that
 * exists for this purpose only: nothing else is changed. Throws UsageError for a board that cannot.
 */
export async function watchOptee(
  context: CliContext,
  whole: BoardConfig,
  cid: string,
): Promise<OpteeTraffic> {
  const { ssh: _, ...config } = whole;
  if (config.bridge === undefined || config.conduits.length === 0) {
    throw new UsageError(`board ${config.name} has no bridge to its OP-TEE`, {
      where: config.file,
    });
  }
  const dir = await mkdtemp(path.join(await ramFolder(), "lockstep-rpmb-"));
  try {
    const ramFile = path.join(dir, "ram");
    const isShared = transportOf(config) === "shared-ram";
    const opened = await openBoardForCli(config, context, {
      servePart: false,
      ...(isShared && { sharedRam: ramFile }),
    });
    try {
      const target = new BridgedTarget({
        board: opened.board,
        ...(isShared && { ramFile }),
        env: context.env,
        abort: context.abort,
        ...(await tasOf(config, opened.prepared)),
      });
      try {
        return (await target.run(SCENARIO, cid)) as unknown as OpteeTraffic;
      } finally {
        await target.close();
      }
    } finally {
      await opened.close();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Which key OP-TEE has, by the MAC that it made itself. */
export function judgeTraffic(
  { write, taken, reads, programmed, code, counter }: OpteeTraffic,
  keys: readonly NamedKey[],
): KeyJudgement {
  const frames = Buffer.from(write, "hex");
  const known = { value: counter, expired: false, authentic: true };
  if (frames.length < FRAME_SIZE || numberOf(frames, FRAME.type) !== RPMB_REQUEST.WRITE_DATA) {
    const gave = `its client got 0x${code.toString(16)}`;
    const reason =
      reads === 0
        ? `OP-TEE asked the part for nothing: its storage is not in RPMB (${gave})`
        : `OP-TEE read the counter of the blank part and programmed no key, as builds without CFG_RPMB_WRITE_KEY do (${gave})`;
    return { verdict: "unproven", matches: [], reason };
  }
  const matches = keys.filter(({ key }) => framesAuthentic(key, frames));
  const [first] = matches;
  if (first === undefined) {
    const reason = `OP-TEE's own write bears a MAC of none of ${keys.length} keys`;
    return { verdict: "none of these", matches, reason, counter: known };
  }
  if (!taken || programmed !== keyId(first.key)) {
    const reason = "OP-TEE's own write is under this key, and the part refused it";
    return { verdict: "unproven", matches: [], reason };
  }
  const reason =
    "OP-TEE itself programmed this key and made an authenticated write with it, which the part took";
  return { verdict: "proven", matches, reason, counter: known };
}
