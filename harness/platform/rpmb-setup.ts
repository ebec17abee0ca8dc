import type { KeyObject } from "node:crypto";
import { type BoardConfig, readSecret } from "../board/index.ts";
import { CID, deriveRpmbKey, intoKey, rpmbTestKey, zeroHuk } from "../rpmb/index.ts";
import { DEBIAN_4_10_RPMB, type OpteeBuild } from "../secure-world/index.ts";
import { Skipped } from "./target.ts";

/**
 * How RPMB requests reach a part: routed by the kernel, through tee-supplicant to the machine's part,
 * or to the card that tee-supplicant emulates.
 */
export type RpmbRoute = "kernel" | "supplicant" | "emulation";

/** How OP-TEE is built as far as its RPMB storage goes. What is left out is as in `USUAL_BUILD`. */
export interface RpmbBuildOptions {
  /** CFG_RPMB_WRITE_KEY. */
  readonly writeKey?: boolean;
  /** CFG_RPMB_TESTKEY. */
  readonly testKey?: boolean;
  /** CFG_CORE_HUK_SUBKEY_COMPAT. */
  readonly compat?: boolean;
  /** CFG_RPMB_RESET_FAT. */
  readonly resetFat?: boolean;
  /** CFG_REE_FS. */
  readonly reeFs?: boolean;
  /** A published hardware unique key in hex; the all-zero stub when left out. */
  readonly huk?: string;
  /** What `plat_rpmb_key_is_ready` says; true when left out. */
  readonly keyReady?: boolean;
}

/** What `lockstep prepare qemu-virt-rpmb` builds. */
export const USUAL_BUILD = {
  writeKey: true,
  testKey: false,
  compat: true,
  resetFat: false,
  reeFs: true,
  huk: "",
  keyReady: true,
} as const satisfies Required<RpmbBuildOptions>;

/** A part as a scenario wants it. */
export interface RpmbPartSpec {
  /** 32 hex digits; tee-supplicant's emulated card when left out. */
  readonly cid?: string;
  /** RPMB_SIZE_MULT in units of 128 KiB, 2 when left out; 0 or more than 128 is a lie of the part. */
  readonly sizeMultiplier?: number;
  /** REL_WR_SEC_C; 1 when left out. */
  readonly relWrSecC?: number;
  /**
   * `blank`, as when left out: none programmed. `optee`: what this OP-TEE derives for it. `other`: a
   * key that no OP-TEE has. Or what another build derives for it.
   */
  readonly key?: "blank" | "optee" | "other" | RpmbBuildOptions;
  readonly writeCounter?: number;
}

/** What a scenario needs of RPMB. */
export interface RpmbSetup {
  readonly route: RpmbRoute;
  /** On boards whose OP-TEE is built in another way, or not known, the scenario is skipped. */
  readonly build?: RpmbBuildOptions;
  /** It runs on boards with RPMB whose OP-TEE is built in another way, too. */
  readonly anyBuild?: true;
  /** In the order in which a kernel announces them; one blank part when left out. */
  readonly parts?: readonly RpmbPartSpec[];
}

export function isSameBuild(one: RpmbBuildOptions, other: RpmbBuildOptions): boolean {
  const [a, b] = [
    { ...USUAL_BUILD, ...one },
    { ...USUAL_BUILD, ...other },
  ];
  return (Object.keys(USUAL_BUILD) as (keyof RpmbBuildOptions)[]).every((key) => a[key] === b[key]);
}

const OTHER_KEY = "6c6f636b73746570206f74686572206b6579206f662061207061727420313233";

/** The hardware unique key of a build. */
export function hukOf({ huk = USUAL_BUILD.huk }: RpmbBuildOptions = {}): KeyObject {
  return huk === "" ? zeroHuk() : intoKey(Uint8Array.from(Buffer.from(huk, "hex")));
}

/** The key that an OP-TEE of this build derives for the part with this CID. */
export function rpmbKeyOf(build: RpmbBuildOptions, cid: Uint8Array): KeyObject {
  const { testKey, compat } = { ...USUAL_BUILD, ...build };
  return testKey ? rpmbTestKey() : deriveRpmbKey(hukOf(build), cid, { compat });
}

/** The key that a part comes with; undefined for a blank one. */
export function partKey(
  { key = "blank" }: RpmbPartSpec,
  build: RpmbBuildOptions,
  cid: Uint8Array,
): KeyObject | undefined {
  if (key === "blank") return undefined;
  if (key === "other") return intoKey(Uint8Array.from(Buffer.from(OTHER_KEY, "hex")));
  return rpmbKeyOf(key === "optee" ? build : key, cid);
}

/** Throws RangeError unless it is 32 hex digits. */
export function cidOf(hex: string): Uint8Array {
  if (!/^[0-9a-fA-F]{32}$/.test(hex)) throw new RangeError(`${hex} is no CID of ${CID.size} bytes`);
  return Uint8Array.from(Buffer.from(hex, "hex"));
}

/** The model's build: 4.10, the release of the boards with RPMB. */
export function opteeBuildOf(build: RpmbBuildOptions, virtualized: boolean): OpteeBuild {
  const { writeKey, testKey, compat, resetFat, reeFs } = { ...USUAL_BUILD, ...build };
  return {
    ...DEBIAN_4_10_RPMB,
    virtualization: virtualized,
    reeFs,
    rpmbFs: true,
    rpmbWriteKey: writeKey,
    rpmbTestKey: testKey,
    rpmbResetFat: resetFat,
    hukSubkeyCompat: compat,
  };
}

/**
 * Throws Skipped where a bridged board's OP-TEE is not one that a scenario is made for. Scenarios that say
 * nothing of RPMB are held against a model without it: an OP-TEE that has it asks more, whatever it does.
 */
export async function requireRpmb(board: BoardConfig, setup: RpmbSetup | undefined): Promise<void> {
  if (setup === undefined) {
    if (board.rpmb?.emulated === undefined) return;
    throw new Skipped(`is made for an OP-TEE without RPMB storage, board ${board.name} has it`);
  }
  if (setup.anyBuild === true && board.rpmb !== undefined) return;
  await requireBuild(board, setup.build ?? {});
}

/**
 * Throws Skipped unless the OP-TEE of a bridged board is known to be built as wanted: what a board
 * file does not say is not taken for granted.
 */
async function requireBuild(board: BoardConfig, wanted: RpmbBuildOptions): Promise<void> {
  const known = board.rpmb?.optee;
  if (known === undefined) {
    throw new Skipped(`needs an OP-TEE with RPMB storage, board ${board.name} has no \`rpmb\``);
  }
  const { writeKey, testKey, compat, resetFat, reeFs, huk, keyReady } = {
    ...USUAL_BUILD,
    ...wanted,
  };
  const seen: readonly (readonly [string, boolean | string, boolean | string | undefined])[] = [
    ["write_key", writeKey, known.writeKey],
    ["test_key", testKey, known.testKey ?? false],
    ["compat", compat, known.compat ?? true],
    ["reset_fat", resetFat, known.resetFat ?? false],
    ["huk", huk === "" ? "zero-stub" : "given", hukName(known.huk)],
  ];
  for (const [name, need, is] of seen) {
    if (need === is) continue;
    const what = is === undefined ? "does not say" : `has ${String(is)}`;
    throw new Skipped(
      `needs an OP-TEE built with ${name} ${String(need)}, board ${board.name} ${what}`,
    );
  }
  if (!reeFs) throw new Skipped("needs an OP-TEE without storage in files");
  if (!keyReady) throw new Skipped("needs a platform that is not ready to program keys");
  if (huk !== "" && !(await hasHuk(board, huk))) {
    throw new Skipped(`needs a published hardware unique key, board ${board.name} has another`);
  }
}

/** Whether the key that the board file refers to is this one. */
async function hasHuk(board: BoardConfig, huk: string): Promise<boolean> {
  const reference = board.rpmb?.optee.huk;
  if (typeof reference !== "object") return false;
  return (await readSecret(reference, board.file)).trim().toLowerCase() === huk;
}

const hukName = (huk: unknown): string | undefined =>
  huk === undefined || typeof huk === "string" ? huk : "given";
