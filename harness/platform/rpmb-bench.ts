import type { KeyObject } from "node:crypto";
import type { RpmbAccess } from "../normal-world/index.ts";
import {
  EmmcRpmb,
  encodeFrames,
  FRAME,
  fieldOf,
  framesAuthentic,
  intoKey,
  keyId,
  NONCE_SIZE,
  numberOf,
  RPMB_REQUEST,
  type RpmbDevice,
  type RpmbSnapshot,
  SUPPLICANT_CID,
} from "../rpmb/index.ts";
import {
  cidOf,
  partKey,
  type RpmbBuildOptions,
  rpmbKeyOf,
  type RpmbPartSpec,
  type RpmbRoute,
  type RpmbSetup,
} from "./rpmb-setup.ts";

/** A part's cells as they were: data, key and write counter. */
export type RpmbImage = RpmbSnapshot;

/** What may change on the way to or from a part: a copy that is altered, or the same bytes. */
export interface RpmbTampering {
  request?(frames: Uint8Array): Uint8Array;
  response?(frames: Uint8Array, request: Uint8Array): Uint8Array;
}

/** A part in its socket: what the normal world's drivers find there, and what a scenario does to it. */
export interface RpmbPart {
  /** 16 bytes in register order. */
  readonly cid: Uint8Array;
  readonly keyProgrammed: boolean;
  readonly writeCounter: number;
  /** What the part holds, 256 bytes a block. */
  readonly data: Uint8Array;
  /** Id of the key that was programmed while it was watched (`keyId`). */
  readonly programmedKeyId: string | undefined;
  /** Whether this is the part's key. */
  hasKey(key: KeyObject): boolean;
  /** The key that an OP-TEE of this build derives for it; of the scenario's build when left out. */
  derivedKey(build?: RpmbBuildOptions): KeyObject;
  /** What was asked of it since the last call: `counter`, `key`, `r8@2`, `w1@0`. */
  takeFrames(): string[];
  image(): RpmbImage;
  /** Goes back to an image, its write counter as well unless `keepCounter`. */
  rollBack(image: RpmbImage, options?: { readonly keepCounter?: boolean }): void;
  /** Every block is zero; key and write counter stay. */
  erase(): void;
  /** Another part is soldered in its place. */
  replace(spec: RpmbPartSpec): void;
  /** How many of the coming writes fail in the flash. */
  failWrites(count: number): void;
  /** Has frames changed between drivers and part, until it is given something else. */
  tamper(with_: RpmbTampering): void;
}

/** RPMB as a scenario has it in hand. */
export interface RpmbContext {
  readonly route: RpmbRoute;
  readonly build: RpmbBuildOptions;
  /** In the order in which the kernel announces them. */
  readonly parts: readonly RpmbPart[];
  /** The first part: the one that tee-supplicant serves. */
  readonly part: RpmbPart;
}

const NAMES: Readonly<Record<number, string>> = {
  [RPMB_REQUEST.PROGRAM_KEY]: "key",
  [RPMB_REQUEST.READ_COUNTER]: "counter",
};

class Socket implements RpmbPart, RpmbDevice {
  readonly #bench: RpmbBench;
  #part: EmmcRpmb;
  #shownSize: number;
  #frames: string[] = [];
  #programmed: string | undefined;
  #tampering: RpmbTampering = {};

  constructor(bench: RpmbBench, spec: RpmbPartSpec) {
    this.#bench = bench;
    this.#part = this.#make(spec);
    this.#shownSize = spec.sizeMultiplier ?? 2;
  }

  #make(spec: RpmbPartSpec): EmmcRpmb {
    const cid = spec.cid === undefined ? SUPPLICANT_CID : cidOf(spec.cid);
    const key = partKey(spec, this.#bench.build, cid);
    const { sizeMultiplier: shown = 2, relWrSecC, writeCounter } = spec;
    return new EmmcRpmb({
      cid,
      sizeMultiplier: shown >= 1 && shown <= 128 ? shown : 1,
      ...(relWrSecC === undefined ? {} : { relWrSecC }),
      ...(key === undefined ? {} : { key }),
      ...(writeCounter === undefined ? {} : { writeCounter }),
    });
  }

  get cid(): Uint8Array {
    return this.#part.cid;
  }

  get sizeMultiplier(): number {
    return this.#shownSize;
  }

  get relWrSecC(): number {
    return this.#part.relWrSecC;
  }

  get keyProgrammed(): boolean {
    return this.#part.keyProgrammed;
  }

  get writeCounter(): number {
    return this.#part.writeCounter;
  }

  get data(): Uint8Array {
    return this.#part.image();
  }

  get programmedKeyId(): string | undefined {
    return this.#programmed;
  }

  hasKey(key: KeyObject): boolean {
    const nonce = new Uint8Array(NONCE_SIZE).fill(0x4c);
    const request = encodeFrames({ type: RPMB_REQUEST.READ_COUNTER, nonce });
    return this.keyProgrammed && framesAuthentic(key, this.#part.copy().frames(request, 1));
  }

  derivedKey(build = this.#bench.build): KeyObject {
    return rpmbKeyOf(build, this.cid);
  }

  takeFrames(): string[] {
    return this.#frames.splice(0);
  }

  image(): RpmbImage {
    return this.#part.snapshot();
  }

  rollBack(image: RpmbImage, { keepCounter = false } = {}): void {
    const { writeCounter } = this.#part;
    this.#part = EmmcRpmb.from(keepCounter ? { ...image, writeCounter } : image);
  }

  erase(): void {
    const now = this.#part.snapshot();
    this.#part = EmmcRpmb.from({ ...now, data: new Uint8Array(now.data.length) });
  }

  replace(spec: RpmbPartSpec): void {
    this.#part = this.#make(spec);
    this.#shownSize = spec.sizeMultiplier ?? 2;
    this.#programmed = undefined;
  }

  failWrites(count: number): void {
    this.#part.failingWrites = count;
  }

  tamper(tampering: RpmbTampering): void {
    this.#tampering = tampering;
  }

  powerOn(): void {
    this.#part.powerOn();
  }

  frames(asked: Uint8Array, responseFrames: number): Uint8Array {
    const request = this.#tampering.request?.(asked) ?? asked;
    this.#note(asked, responseFrames);
    const answer = this.#part.frames(request, responseFrames);
    return this.#tampering.response?.(answer, asked) ?? answer;
  }

  #note(request: Uint8Array, responseFrames: number): void {
    const type = numberOf(request, FRAME.type);
    const address = numberOf(request, FRAME.address);
    if (type === RPMB_REQUEST.READ_DATA) this.#frames.push(`r${responseFrames}@${address}`);
    else if (type === RPMB_REQUEST.WRITE_DATA) {
      this.#frames.push(`w${numberOf(request, FRAME.blockCount)}@${address}`);
    } else this.#frames.push(NAMES[type] ?? `type ${type}`);
    if (type === RPMB_REQUEST.PROGRAM_KEY && !this.keyProgrammed) {
      const bytes = fieldOf(request, FRAME.keyMac).slice();
      this.#bench.onKey(Buffer.from(bytes).toString("hex"));
      this.#programmed = keyId(intoKey(bytes));
    }
  }
}

/** The RPMB parts of one scenario: they and their contents outlive every restart of the machine. */
export class RpmbBench implements RpmbContext {
  route: RpmbRoute;
  build: RpmbBuildOptions;
  readonly parts: readonly Socket[];

  /** Is told of every key that a part is given, in hexadecimal, so that it can be masked. */
  readonly onKey: (key: string) => void;

  constructor({ route, build = {}, parts = [{}] }: RpmbSetup, onKey = (_key: string): void => {}) {
    this.onKey = onKey;
    this.route = route;
    this.build = build;
    this.parts = parts.map((spec) => new Socket(this, spec));
  }

  get part(): Socket {
    const [first] = this.parts;
    if (first === undefined) throw new RangeError("the scenario has no part");
    return first;
  }

  /** What a kernel with the RPMB subsystem has; undefined for one without. */
  get kernelParts(): readonly RpmbDevice[] | undefined {
    return this.route === "kernel" ? this.parts : undefined;
  }

  /** What tee-supplicant serves. */
  get supplicantAccess(): RpmbAccess {
    if (this.route === "emulation") return {};
    return { devices: new Map(this.parts.map((part, index) => [index, part])) };
  }

  /** The machine's power was off. */
  powerOn(): void {
    for (const part of this.parts) part.powerOn();
  }
}
