import { createHmac, type KeyObject, timingSafeEqual } from "node:crypto";
import { FRAME, FRAME_SIZE, fieldOf, MAC_START, setField } from "./frame.ts";

/**
 * HMAC-SHA-256 over offsets 228 to 511 of every frame in transfer order (RPMB-1.1). Whatever length
 * of trailing bytes is not a whole frame is left out.
 */
export function framesMac(key: KeyObject, frames: Uint8Array): Uint8Array {
  const hmac = createHmac("sha256", key);
  for (let end = FRAME_SIZE; end <= frames.length; end += FRAME_SIZE) {
    hmac.update(frames.subarray(end - FRAME_SIZE + MAC_START, end));
  }
  return hmac.digest();
}

/** Puts the MAC of all frames into the last one. */
export function signFrames(key: KeyObject, frames: Uint8Array): void {
  setField(frames, FRAME.keyMac, framesMac(key, frames), frames.length / FRAME_SIZE - 1);
}

/** Whether the last frame holds the MAC of all; in constant time. */
export function framesAuthentic(key: KeyObject, frames: Uint8Array): boolean {
  const last = fieldOf(frames, FRAME.keyMac, frames.length / FRAME_SIZE - 1);
  return timingSafeEqual(last, framesMac(key, frames));
}
