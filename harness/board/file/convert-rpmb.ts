import type { Blame } from "./convert.ts";
import type { RpmbBuild, RpmbConfig } from "./model.ts";
import { type RawRpmb, secretRef } from "./raw.ts";

/** CID and RPMB_SIZE_MULT of tee-supplicant's own emulation, which everybody has seen (RPMB-6.2). */
const USUAL_PART = { cid: "fe014e4d4d4330344742c8f6552a6115", sizeMultiplier: 2 } as const;

/** The `rpmb` section. What does not fit together is reported through `blame`. */
export function convertRpmb(raw: RawRpmb, platform: string, blame: Blame): RpmbConfig {
  const { device, part, optee } = raw;
  if (device !== undefined && part !== undefined) {
    blame(
      ["rpmb", "part"],
      "`device` and `part` exclude each other: the part is on the board, or Lockstep serves it",
      "Leave one out.",
    );
  }
  if (platform === "emulated" && device !== undefined) {
    blame(["rpmb", "device"], "`device` means nothing on a board of platform emulated");
  }
  if (part === undefined && raw.size_multiplier !== undefined) {
    blame(
      ["rpmb", "size_multiplier"],
      "`size_multiplier` is for `part: emulated`; a real part tells its size itself",
    );
  }
  if (part === undefined && raw.state !== undefined) {
    blame(["rpmb", "state"], "`state` is for `part: emulated`; a real part keeps its own");
  }
  if (part === undefined && device === undefined && raw.cid !== undefined) {
    blame(
      ["rpmb", "cid"],
      "`cid` belongs to a part that is not named",
      "Add `part: emulated`, or the part's `device`.",
    );
  }
  if (optee?.write_key === true && optee.routing === "kernel") {
    blame(
      ["rpmb", "optee", "routing"],
      "an OP-TEE with `write_key` never probes the kernel's parts: its frames go through the supplicant",
      "Write `routing: supplicant`, or `write_key: false`.",
    );
  }
  const cid = raw.cid?.toLowerCase();
  return {
    ...(device !== undefined && { device }),
    ...(device !== undefined && cid !== undefined && { expectedCid: cid }),
    ...(part !== undefined && {
      emulated: {
        cid: cid ?? USUAL_PART.cid,
        sizeMultiplier: raw.size_multiplier ?? USUAL_PART.sizeMultiplier,
        ...(raw.state !== undefined && { state: raw.state }),
      },
    }),
    optee: convertBuild(optee ?? {}),
  };
}

function convertBuild(raw: NonNullable<RawRpmb["optee"]>): RpmbBuild {
  const { huk } = raw;
  return {
    ...(raw.write_key !== undefined && { writeKey: raw.write_key }),
    ...(raw.test_key !== undefined && { testKey: raw.test_key }),
    ...(raw.compat !== undefined && { compat: raw.compat }),
    ...(huk !== undefined && { huk: typeof huk === "string" ? huk : secretRef(huk) }),
    ...(raw.reset_fat !== undefined && { resetFat: raw.reset_fat }),
    ...(raw.key_service !== undefined && { keyService: raw.key_service }),
    ...(raw.routing !== undefined && { routing: raw.routing }),
    ...(raw.rpmb_emu !== undefined && { supplicantEmulation: raw.rpmb_emu }),
  };
}
