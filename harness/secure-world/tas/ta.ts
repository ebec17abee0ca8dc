import type { TaParams } from "../param.ts";
import type { SecureTask } from "../thread.ts";
import type { TeeApi } from "./tee-api.ts";

/** Property flags of a TA header. */
export const TA_FLAG = {
  SINGLE_INSTANCE: 1 << 2,
  MULTI_SESSION: 1 << 3,
  INSTANCE_KEEP_ALIVE: 1 << 4,
  SECURE_DATA_PATH: 1 << 5,
  CACHE_MAINTENANCE: 1 << 7,
  CONCURRENT: 1 << 8,
  DEVICE_ENUM: 1 << 9,
  DEVICE_ENUM_SUPP: 1 << 10,
  DONT_CLOSE_HANDLE_ON_CORRUPT_OBJECT: 1 << 11,
  DEVICE_ENUM_TEE_STORAGE_PRIVATE: 1 << 12,
  INSTANCE_KEEP_CRASHED: 1 << 13,
} as const;

/** What pseudo-TAs have unless they say otherwise. */
export const PTA_DEFAULT_FLAGS =
  TA_FLAG.SINGLE_INSTANCE | TA_FLAG.MULTI_SESSION | TA_FLAG.INSTANCE_KEEP_ALIVE;

/** What an entry point gives: a TEE result code, from a generator where it can be suspended. */
export type EntryResult = SecureTask<number> | number;

/** One loaded instance: its fields are the TA's globals. */
export interface TaInstance {
  create?(tee: TeeApi): EntryResult;
  open?(tee: TeeApi, params: TaParams): EntryResult;
  invoke(tee: TeeApi, command: number, params: TaParams): EntryResult;
  close?(tee: TeeApi): SecureTask | undefined;
  destroy?(): void;
}

/** A shared library for TAs. */
export interface TaLibrary {
  readonly uuid: string;
  readonly imageSize: number;
}

/** A trusted application: what is known before it runs, and how to load it. */
export interface TrustedApplication {
  readonly name: string;
  /** Lower-case text. */
  readonly uuid: string;
  /** `TA_FLAG` bits. */
  readonly flags: number;
  /** Secure RAM that an instance takes beside its image, in bytes. */
  readonly stackSize: number;
  readonly dataSize: number;
  /** Bytes of code and data in its image, so that the file is as long as that of Debian's package. */
  readonly imageSize: number;
  readonly version?: number;
  /** Libraries that it is linked against, loaded after it: files like TAs. */
  readonly libraries?: readonly TaLibrary[];
  /** A fresh instance with fresh globals. */
  instantiate(): TaInstance;
}

/** Thrown by a TA that panics; the code is what `TEE_Panic` was given. */
export class TaPanic extends Error {
  readonly code: number;
  constructor(code: number) {
    super(`TA panicked with code 0x${code.toString(16)}`);
    this.name = "TaPanic";
    this.code = code;
  }
}
