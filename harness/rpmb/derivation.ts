import type { KeyObject } from "node:crypto";
import { CID, cidForKey } from "./cid.ts";
import { type CidFields, decodeCid } from "./cid-fields.ts";
import type { Huk } from "./huk.ts";
import { deriveSubkey, HUK_USAGE, intoKey, rpmbTestKey, subkeyMessage } from "./key.ts";
import { keyId } from "./key-id.ts";

/** What to derive: the RPMB key, or the secure storage key (SSK) that all TA storage rests on. */
export type DerivationRequest =
  | {
      readonly usage: "rpmb";
      readonly huk: Huk;
      readonly cid: Uint8Array;
      readonly compat: boolean;
    }
  | {
      readonly usage: "ssk";
      readonly huk: Huk;
      readonly compat: boolean;
      /**
       * Of builds with CFG_CORE_HUK_SUBKEY_COMPAT_USE_OTP_DIE_ID: the platform's, 1 to 32 bytes, which
       * zeros fill up, or what a platform without one derives from the hardware unique key.
       */
      readonly dieId?: Uint8Array | "derived";
    }
  | { readonly usage: "test-key" };

/** One line of an explanation; nothing secret is in it. */
export interface DerivationStep {
  readonly name: string;
  readonly value: string;
  readonly note?: string;
}

export interface Derivation {
  readonly key: KeyObject;
  readonly keyId: string;
  readonly cid?: CidFields;
  /** What was authenticated with the hardware unique key. */
  readonly message?: Uint8Array;
  readonly steps: readonly DerivationStep[];
  readonly warnings: readonly string[];
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const hex2 = (byte: number): string => byte.toString(16).padStart(2, "0");

/**
 * Derives a key and says how. Throws RangeError for a CID that has not 16 or a die id that has not 1
 * to 32 bytes.
 */
export function derive(request: DerivationRequest): Derivation {
  if (request.usage === "test-key") {
    const key = rpmbTestKey();
    const note = "CFG_RPMB_TESTKEY=y: hardware unique key and CID are not used";
    return {
      key,
      keyId: keyId(key),
      steps: [{ name: "source", value: "test key", note }],
      warnings: ["the test key is public: it protects nothing"],
    };
  }
  const { huk, compat } = request;
  const steps: DerivationStep[] = [
    { name: "source", value: huk.source.title, note: huk.source.about },
    {
      name: "HUK",
      value: huk.published ? "00".repeat(huk.size) : "(not shown)",
      note: huk.published ? `${huk.how}; public` : huk.how,
    },
  ];
  const warnings = huk.source.warning === undefined ? [] : [huk.source.warning];
  if (huk.published && huk.source.name !== "zero-stub") {
    warnings.push("the hardware unique key is all zero, as in a build without one");
  }
  let fields: CidFields | undefined;
  let data = new Uint8Array(0);
  if (request.usage === "rpmb") {
    fields = decodeCid(request.cid);
    data = Uint8Array.from(cidForKey(request.cid));
    steps.push(...cidSteps(request.cid, fields));
    if (fields.crc === "wrong") {
      warnings.push(
        `the CID ends in ${hex2(request.cid[CID.CRC.offset] ?? 0)}, but its CRC7 asks for ${hex2(fields.expectedCrc)}: check it against the part, for every digit but PRV and CRC changes the key`,
      );
    }
  }
  const usage = request.usage === "rpmb" ? HUK_USAGE.RPMB : HUK_USAGE.SSK;
  const dieId = request.usage === "ssk" ? dieIdOf(request.huk, request.dieId) : undefined;
  if (request.usage === "ssk" && dieId !== undefined) {
    const note = request.dieId === "derived" ? "HMAC of usage word 2 under the HUK" : "OTP";
    steps.push({ name: "die id", value: hex(dieId), note });
  } else if (request.usage === "ssk" && compat && huk.source.name.startsWith("caam")) {
    warnings.push(
      "OP-TEE for i.MX takes the part's die id unless an SE05x is used, and none is given: this is another build's key",
    );
  }
  const options = { compat, ...(dieId !== undefined && { dieId }) };
  const message = subkeyMessage(usage, data, options);
  steps.push(messageStep(request.usage, compat, dieId !== undefined, message));
  const key = deriveSubkey(huk.key, usage, data, options);
  return {
    key,
    keyId: keyId(key),
    ...(fields !== undefined && { cid: fields }),
    message,
    steps,
    warnings,
  };
}

const DIE_ID_SIZE = 32;

/** The 32 bytes that stand for the chip in the compat storage key. */
function dieIdOf(huk: Huk, dieId: Uint8Array | "derived" | undefined): Uint8Array | undefined {
  if (dieId === undefined) return undefined;
  if (dieId === "derived") {
    const empty = new Uint8Array(0);
    return deriveSubkey(huk.key, HUK_USAGE.DIE_ID, empty, { compat: true }).export();
  }
  if (dieId.length === 0 || dieId.length > DIE_ID_SIZE) {
    throw new RangeError(`a die id has 1 to ${DIE_ID_SIZE} bytes, not ${dieId.length}`);
  }
  const padded = new Uint8Array(DIE_ID_SIZE);
  padded.set(dieId);
  return padded;
}

function messageStep(
  usage: "rpmb" | "ssk",
  compat: boolean,
  ownDieId: boolean,
  message: Uint8Array,
): DerivationStep {
  const form =
    usage === "rpmb"
      ? compat
        ? "the masked CID alone"
        : "usage word 0 (RPMB) and the masked CID"
      : compat
        ? `${ownDieId ? "die id" : '"BEEF" eight times'}, "ONLY_FOR_tee_fs_ssk" and a zero byte`
        : "usage word 1 (SSK)";
  const flag = `CFG_CORE_HUK_SUBKEY_COMPAT=${compat ? "y" : "n"}`;
  return { name: "HMAC message", value: hex(message), note: `${flag}: ${form}` };
}

function cidSteps(cid: Uint8Array, fields: CidFields): DerivationStep[] {
  const type = ["removable card", "BGA", "package on package", "reserved"][fields.deviceType];
  const crc = {
    right: "right",
    wrong: `wrong: ${hex2(fields.expectedCrc)} is asked for`,
    absent: "absent: host controllers strip it",
  }[fields.crc];
  const month = String(fields.month).padStart(2, "0");
  const at = (field: { readonly offset: number }): string => hex2(cid[field.offset] ?? 0);
  return [
    { name: "CID", value: hex(cid) },
    { name: "  MID", value: hex2(fields.mid), note: "manufacturer" },
    { name: "  CBX", value: at(CID.CBX), note: type ?? "" },
    { name: "  OID", value: hex2(fields.oid) },
    { name: "  PNM", value: fields.pnm, note: "product name" },
    { name: "  PRV", value: at(CID.PRV), note: `revision ${fields.prv}; zeroed for the key` },
    { name: "  PSN", value: fields.psn.toString(16).padStart(8, "0"), note: "serial number" },
    { name: "  MDT", value: at(CID.MDT), note: `month ${month} of ${fields.years.join(", ")}` },
    { name: "  CRC", value: at(CID.CRC), note: `${crc}; zeroed for the key` },
    { name: "masked CID", value: hex(cidForKey(cid)), note: "PRV and CRC zeroed" },
  ];
}

/**
 * The bytes of a key as lower-case hexadecimal digits, for the one place that may print it. The
 * string cannot be overwritten: ask only where it is printed at once.
 */
export function keyDigits(key: KeyObject): string {
  const bytes = key.export();
  const digits = bytes.toString("hex");
  bytes.fill(0);
  return digits;
}

/** A copy of a part's key from 32 bytes, which are overwritten. Throws RangeError for another count. */
export function rpmbKeyFrom(bytes: Uint8Array): KeyObject {
  if (bytes.length !== 32) {
    const seen = bytes.length;
    bytes.fill(0);
    throw new RangeError(`an RPMB key has 32 bytes, not ${seen}`);
  }
  return intoKey(bytes);
}
