import { Random } from "../../base/index.ts";
import { isSince, type OpteeBuild } from "../build.ts";
import type { Core } from "../core.ts";
import { StorageKeys } from "./keys.ts";

/** What all of secure storage needs of one partition's core: keys, random bytes, the build. */
export class StorageCore {
  readonly build: OpteeBuild;
  readonly keys: StorageKeys;
  readonly core: Core;
  /** Whether keys are derived without usage words. */
  readonly compatKeys: boolean;
  readonly #random: Random;

  constructor(core: Core, seed: number) {
    this.core = core;
    this.build = core.build;
    // Usage words came with 3.6.0 (RPMB-3.6).
    this.compatKeys = core.build.hukSubkeyCompat || !this.since(3, 6);
    this.keys = new StorageKeys(core.huk, { compat: this.compatKeys });
    this.#random = new Random(seed);
  }

  /** Bytes of the core's random number generator, the same in every run of the same seed. */
  random(length: number): Uint8Array {
    const words = new Uint32Array(Math.ceil(length / 4));
    for (let index = 0; index < words.length; index += 1) words[index] = this.#random.u32();
    return new Uint8Array(words.buffer, 0, length);
  }

  /** Whether the modelled version is at least this one. */
  since(major: number, minor: number): boolean {
    return isSince(this.build, major, minor);
  }
}
