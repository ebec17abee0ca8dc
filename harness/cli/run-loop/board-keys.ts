import { LockstepError, secrets } from "../../base/index.ts";
import { type BoardConfig, readSecret } from "../../board/index.ts";
import {
  findHukSource,
  hukOf,
  keyCandidates,
  keyDigits,
  SUPPLICANT_CID,
} from "../../rpmb/index.ts";

const HUK = /^(?:[0-9a-f]{32}|[0-9a-f]{64})$/i;

/**
 * Registers the hardware unique key that a board's file refers to, and the keys that come of it, so
 * that they are masked from the first byte that the board prints. What cannot be read is no fault
 * here: whoever needs it says so.
 */
export async function maskKeysOf({ rpmb, file }: BoardConfig): Promise<void> {
  const reference = rpmb?.optee.huk;
  const source = findHukSource("given");
  if (typeof reference !== "object" || source === undefined) return;
  let digits = "";
  try {
    digits = (await readSecret(reference, file)).trim();
  } catch (error) {
    if (!(error instanceof LockstepError)) throw error;
  }
  if (!HUK.test(digits)) return;
  secrets.add(digits.toLowerCase());
  const known = rpmb?.emulated?.cid ?? rpmb?.expectedCid;
  const cid = known === undefined ? SUPPLICANT_CID : Buffer.from(known, "hex");
  const huk = hukOf(source, Uint8Array.from(Buffer.from(digits, "hex")));
  for (const { key } of keyCandidates({ cid, huks: [huk] })) secrets.add(keyDigits(key));
}
