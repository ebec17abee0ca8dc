import type { Random } from "../../base/index.ts";
import { FRAME_SIZE, type RpmbDevice } from "../../rpmb/index.ts";

/** What can happen to a request and its answer between a secure world and its part. */
export const LINK_FAULTS = [
  "request lost",
  "answer lost",
  "request duplicated",
  "request held up",
  "older request in its place",
  "older answer in its place",
  "bit of the request flipped",
  "bit of the answer flipped",
] as const;
export type LinkFault = (typeof LINK_FAULTS)[number];

/** A way to a part that goes wrong as it is told, by number of the request from 0. */
export class FaultyLink implements RpmbDevice {
  readonly cid: Uint8Array;
  readonly sizeMultiplier: number;
  readonly relWrSecC: number;
  readonly faults = new Map<number, LinkFault>();
  readonly requests: Uint8Array[] = [];
  readonly #answers: Uint8Array[] = [];
  readonly #part: RpmbDevice;
  readonly #random: Random;
  #held: Uint8Array | undefined;

  constructor(part: RpmbDevice, random: Random) {
    ({ cid: this.cid, sizeMultiplier: this.sizeMultiplier, relWrSecC: this.relWrSecC } = part);
    this.#part = part;
    this.#random = random;
  }

  frames(request: Uint8Array, responseFrames: number): Uint8Array {
    const fault = this.faults.get(this.requests.length);
    this.requests.push(new Uint8Array(request));
    const answer = this.#perform(request, responseFrames, fault);
    this.#answers.push(answer);
    return answer;
  }

  #perform(request: Uint8Array, count: number, fault: LinkFault | undefined): Uint8Array {
    const none = new Uint8Array(count * FRAME_SIZE);
    switch (fault) {
      case "request lost":
        return none;
      case "answer lost":
        this.#send(request, count);
        return none;
      case "request duplicated":
        this.#send(request, count);
        return this.#send(request, count);
      case "request held up":
        // It comes to the part after the next one, whatever that is.
        this.#held = new Uint8Array(request);
        return none;
      case "older request in its place":
        return this.#send(this.#one(this.requests) ?? request, count);
      case "older answer in its place": {
        this.#send(request, count);
        const same = this.#answers.filter((one) => one.length === none.length);
        return new Uint8Array(this.#one(same) ?? none);
      }
      case "bit of the request flipped":
        return this.#send(this.#flipped(request), count);
      case "bit of the answer flipped":
        return this.#flipped(this.#send(request, count));
      default: {
        const answer = this.#send(request, count);
        const held = this.#held;
        this.#held = undefined;
        if (held !== undefined) this.#send(held, count);
        return answer;
      }
    }
  }

  #send(request: Uint8Array, count: number): Uint8Array {
    return this.#part.frames(request, count);
  }

  #one<T>(list: readonly T[]): T | undefined {
    return list.length === 0 ? undefined : list[this.#random.below(list.length)];
  }

  #flipped(frames: Uint8Array): Uint8Array {
    const changed = new Uint8Array(frames);
    // Half of the flips are in the numbers at the end of a frame.
    const start = this.#random.below(2) === 0 ? 0 : FRAME_SIZE - 28;
    const at = this.#random.below(changed.length / FRAME_SIZE) * FRAME_SIZE;
    const place = at + start + this.#random.below(FRAME_SIZE - start);
    changed[place] = (changed[place] ?? 0) ^ (1 << this.#random.below(8));
    return changed;
  }
}
