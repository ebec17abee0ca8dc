import type { KeyObject } from "node:crypto";
import {
  type Deadline,
  InfrastructureError,
  InternalError,
  TargetCrashError,
} from "../base/index.ts";
import type { CommandProtocol } from "../board/index.ts";
import {
  encodeFrames,
  FRAME,
  FRAME_SIZE,
  isRpmbKey,
  numberOf,
  resultText,
  RPMB_REQUEST,
  RPMB_RESPONSE,
  RPMB_RESULT,
  type RpmbChannel,
} from "../rpmb/index.ts";

/**
 * Programs the key of a part in this process: the one request that JEDEC has for it. The frame is
 * overwritten afterwards. Throws InfrastructureError where the part does not take it.
 */
export async function programKey(channel: RpmbChannel, key: KeyObject): Promise<void> {
  if (!isRpmbKey(key)) throw new InternalError("an RPMB key has 32 bytes");
  const keyMac = key.export();
  const request = encodeFrames({ type: RPMB_REQUEST.PROGRAM_KEY, keyMac });
  keyMac.fill(0);
  try {
    const answer = await channel.frames(request, 1);
    const type = answer.length === FRAME_SIZE ? numberOf(answer, FRAME.type) : undefined;
    if (type !== RPMB_RESPONSE.PROGRAM_KEY) {
      throw refused(`an answer of ${answer.length} bytes that is none to this request`);
    }
    const result = numberOf(answer, FRAME.result);
    if (result !== RPMB_RESULT.OK) throw refused(`result ${resultText(result)}`);
  } finally {
    request.fill(0);
  }
}

function refused(seen: string, next?: string): InfrastructureError {
  return new InfrastructureError("the part did not take the key", {
    seen,
    next: next ?? "Ask it what it has with `lockstep rpmb verify`.",
  });
}

const NOT_FOUND = 127;
const SAFE_DEVICE = /^\/dev\/[A-Za-z0-9_/-]{1,200}$/;

/**
 * `mmc rpmb write-key DEVICE -` on the board, the key on its standard input (RPMB-8.WRITE_KEY): it is
 * in no file, no argument and no environment there. Throws InfrastructureError where mmc-utils or the
 * part refuses, and whatever the connection throws: then only the part knows what it has.
 */
export async function writeKeyByMmcUtils(
  commands: CommandProtocol,
  device: string,
  key: KeyObject,
  deadline: Deadline,
): Promise<void> {
  if (!isRpmbKey(key)) throw new InternalError("an RPMB key has 32 bytes");
  if (!SAFE_DEVICE.test(device)) throw new InternalError(`${device} is no device`);
  const input = key.export();
  try {
    const options = { input };
    const result = await commands.exec(`mmc rpmb write-key ${device} -`, deadline, options);
    if (result.exitCode === 0) return;
    const said = Buffer.concat([result.stdout, result.stderr]).toString("latin1");
    if (result.exitCode === undefined) {
      throw new TargetCrashError("mmc-utils was ended while it wrote the key", {
        seen: `signal ${result.signal ?? "unknown"}`,
        next: "Ask the part what it has with `lockstep rpmb verify` before anything else.",
      });
    }
    if (result.exitCode === NOT_FOUND) {
      throw refused("mmc-utils is not on the board", "Install the package mmc-utils there.");
    }
    const [, code] = /retcode 0x([0-9a-f]{1,4})\b/i.exec(said) ?? [];
    if (code !== undefined) throw refused(`result ${resultText(Number.parseInt(code, 16))}`);
    throw refused(oneLine(said));
  } finally {
    input.fill(0);
  }
}

/** What a program on the board said, without a run of digits that could be a key. */
const oneLine = (said: string): string =>
  said
    .replaceAll(/[0-9a-f]{32,}/gi, "*")
    .replaceAll(/[^\x20-\x7e]+/g, " ")
    .trim()
    .slice(0, 200) || "nothing";

/** Whether a program is on the board. */
export async function hasProgram(
  commands: CommandProtocol,
  program: string,
  deadline: Deadline,
): Promise<boolean> {
  const { exitCode } = await commands.exec(`command -v ${program} >/dev/null`, deadline);
  return exitCode === 0;
}
