import { InternalError } from "../../base/index.ts";
import type { RpmbDevice } from "../device.ts";
import { FRAME, FRAME_SIZE, numberOf, RPMB_REQUEST } from "../frame.ts";

/** A way to an RPMB partition: request frames there, response frames back. */
export interface RpmbChannel {
  /** Sends whole request frames and gives `responseFrames` response frames, whatever they say. */
  frames(request: Uint8Array, responseFrames: number): Promise<Uint8Array>;
}

/** Requests that leave key, write counter, data and configuration of a part as they are. */
const READS: ReadonlySet<number> = new Set([
  RPMB_REQUEST.READ_COUNTER,
  RPMB_REQUEST.READ_DATA,
  RPMB_REQUEST.CONFIG_READ,
]);

export const changesNothing = (requestType: number): boolean => READS.has(requestType);

/**
 * The channel, with every request that could change the part refused before it is sent: one frame of
 * a type that reads passes, nothing else. Throws InternalError for the others, since whoever verifies
 * must never come to send one.
 */
export function readOnly(channel: RpmbChannel): RpmbChannel {
  return {
    frames: async (request, responseFrames) => {
      const type = request.length === FRAME_SIZE ? numberOf(request, FRAME.type) : undefined;
      if (type === undefined || !changesNothing(type)) {
        throw new InternalError("an RPMB request that may change the part was about to be sent", {
          expected: "one frame that reads: 0x0002, 0x0004 or 0x0007",
          seen: type === undefined ? `${request.length} bytes` : `type 0x${hex16(type)}`,
        });
      }
      return await channel.frames(request, responseFrames);
    },
  };
}

/** A part in this process, as a channel. */
export function channelTo(device: Pick<RpmbDevice, "frames">): RpmbChannel {
  return { frames: async (request, responseFrames) => device.frames(request, responseFrames) };
}

export const hex16 = (value: number): string => value.toString(16).padStart(4, "0");
