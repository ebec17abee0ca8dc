import { RPC_CMD } from "../../optee-abi/index.ts";
import {
  BLOCK_SIZE,
  fieldOf,
  FRAME,
  FRAME_SIZE,
  type FsBlock,
  fsBlockOf,
  numberOf,
  RPMB_REQ,
  RPMB_REQUEST,
  RPMB_RESPONSE,
} from "../../rpmb/index.ts";
import type { TraceFrame } from "../../run/index.ts";

/** Frames of one transfer that are recorded. */
const MAX_FRAMES = 64;
const WITH_DATA: readonly number[] = [RPMB_REQUEST.WRITE_DATA, RPMB_RESPONSE.READ_DATA];

/** How many bytes precede the frames in a parameter of an RPC; undefined where there are none. */
export function framesBehind(cmd: number, index: number): number | undefined {
  if (index > 1) return undefined;
  if (cmd === RPC_CMD.RPMB_FRAMES) return 0;
  return cmd === RPC_CMD.RPMB ? (index === 0 ? RPMB_REQ.size : 0) : undefined;
}

/**
 * The RPMB frames in a parameter, whose first `skip` bytes are something else; undefined where it is not
 * whole frames. A key that is programmed is not in them, nor is any data but by its digest.
 */
export function framesIn(bytes: Uint8Array, skip: number): readonly TraceFrame[] | undefined {
  const frames = bytes.subarray(skip);
  const count = frames.length / FRAME_SIZE;
  if (!Number.isInteger(count) || count === 0 || count > MAX_FRAMES) return undefined;
  return Array.from({ length: count }, (_, index) => frameAt(frames, index));
}

const hexOf = (bytes: Uint8Array): string =>
  bytes.every((byte) => byte === 0) ? "" : Buffer.from(bytes).toString("hex");

function frameAt(frames: Uint8Array, index: number): TraceFrame {
  const type = numberOf(frames, FRAME.type, index);
  const programs = type === RPMB_REQUEST.PROGRAM_KEY;
  return {
    type,
    result: numberOf(frames, FRAME.result, index),
    address: numberOf(frames, FRAME.address, index),
    count: numberOf(frames, FRAME.blockCount, index),
    counter: numberOf(frames, FRAME.writeCounter, index),
    nonce: hexOf(fieldOf(frames, FRAME.nonce, index)),
    mac: programs ? "" : hexOf(fieldOf(frames, FRAME.keyMac, index)),
    ...(WITH_DATA.includes(type)
      ? { block: blockText(fsBlockOf(fieldOf(frames, FRAME.data, index))) }
      : {}),
  };
}

/** A block in words: `zero`, `partition …`, `entry …` or `data DIGEST`. */
function blockText(block: FsBlock): string {
  switch (block.kind) {
    case "zero":
      return block.kind;
    case "partition":
      return `partition version ${block.version} FAT at ${block.fatStart}`;
    case "entry": {
      const { start, size, flags, fek, name, rest } = block;
      const place =
        size === 0 && start === 0 ? "" : ` ${size} bytes in block ${start / BLOCK_SIZE}`;
      const key = fek === "" ? "" : ` key ${fek}`;
      return `entry flags ${flags}${place}${key} ${JSON.stringify(name)}${rest === "" ? "" : ` ${rest}`}`;
    }
    case "data":
      return `data ${block.digest}`;
    default:
      return block satisfies never;
  }
}
