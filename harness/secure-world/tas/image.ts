import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { uuidOctets, uuidText } from "../../base/index.ts";
import type { TrustedApplication } from "./ta.ts";

/** Header of a signed TA image: field offsets in bytes, all little-endian. */
const SHDR = {
  size: 20,
  magic: 0,
  imgType: 4,
  imgSize: 8,
  algo: 12,
  hashSize: 16,
  sigSize: 18,
} as const;
/** "OTSH" and the image type of a TA with a bootstrap header (UUID and version). */
const SHDR_MAGIC = 0x4f54_5348;
const SHDR_BOOTSTRAP_TA = 1;
const BOOTSTRAP_SIZE = 20;
const HASH_SIZE = 32;
const SIG_SIZE = 32;

/**
 * Images of the emulated platform are signed with HMAC-SHA-256 under a published key, in the place
 * where a real image has an RSA signature; the number marks the algorithm as ours.
 */
const ALGO = 0x4c4b_0001;
const SIGNING_KEY = "lockstep emulated platform: TA signing key";

const HEADERS = SHDR.size + HASH_SIZE + SIG_SIZE + BOOTSTRAP_SIZE;

/** The `.ta` file of a modelled TA: signed header, then `imageSize` bytes that stand for its code. */
export function buildTaImage(
  ta: Pick<TrustedApplication, "uuid" | "imageSize" | "version">,
): Uint8Array {
  const image = new Uint8Array(HEADERS + ta.imageSize);
  const view = new DataView(image.buffer);
  view.setUint32(SHDR.magic, SHDR_MAGIC, true);
  view.setUint32(SHDR.imgType, SHDR_BOOTSTRAP_TA, true);
  view.setUint32(SHDR.imgSize, ta.imageSize, true);
  view.setUint32(SHDR.algo, ALGO, true);
  view.setUint16(SHDR.hashSize, HASH_SIZE, true);
  view.setUint16(SHDR.sigSize, SIG_SIZE, true);
  const bootstrap = SHDR.size + HASH_SIZE + SIG_SIZE;
  image.set(uuidOctets(ta.uuid), bootstrap);
  view.setUint32(bootstrap + 16, ta.version ?? 0, true);
  const pattern = Uint8Array.from({ length: 256 }, (_, index) => index * 31);
  for (let at = HEADERS; at < image.length; at += pattern.length) {
    image.set(pattern.subarray(0, image.length - at), at);
  }
  const hash = hashOf(image);
  image.set(hash, SHDR.size);
  image.set(signatureOf(hash), SHDR.size + HASH_SIZE);
  return image;
}

/** The files of TAs and of the libraries that they need, by UUID. */
export function buildTaImages(tas: readonly TrustedApplication[]): Map<string, Uint8Array> {
  const files = tas.flatMap((ta) => [ta, ...(ta.libraries ?? [])]);
  return new Map(files.map((file) => [file.uuid, buildTaImage(file)]));
}

export interface VerifiedImage {
  readonly uuid: string;
  readonly version: number;
  /** Bytes of code and data. */
  readonly size: number;
}

/** Whether a file begins as a signed image does, so that there is a signature to be verified. */
export function hasSignature(image: Uint8Array): boolean {
  if (image.length < SHDR.size + HASH_SIZE + SIG_SIZE) return false;
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  return (
    view.getUint32(SHDR.magic, true) === SHDR_MAGIC &&
    view.getUint32(SHDR.algo, true) === ALGO &&
    view.getUint16(SHDR.hashSize, true) === HASH_SIZE &&
    view.getUint16(SHDR.sigSize, true) === SIG_SIZE
  );
}

/** What a `.ta` file holds; undefined unless header, sizes, hash and signature are all right. */
export function verifyTaImage(image: Uint8Array): VerifiedImage | undefined {
  if (image.length < HEADERS || !hasSignature(image)) return undefined;
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const imgSize = view.getUint32(SHDR.imgSize, true);
  if (
    view.getUint32(SHDR.imgType, true) !== SHDR_BOOTSTRAP_TA ||
    HEADERS + imgSize !== image.length
  ) {
    return undefined;
  }
  const hash = image.subarray(SHDR.size, SHDR.size + HASH_SIZE);
  const signature = image.subarray(SHDR.size + HASH_SIZE, SHDR.size + HASH_SIZE + SIG_SIZE);
  if (!timingSafeEqual(hash, hashOf(image))) return undefined;
  if (!timingSafeEqual(signature, signatureOf(hash))) return undefined;
  const bootstrap = SHDR.size + HASH_SIZE + SIG_SIZE;
  return {
    uuid: uuidText(image.subarray(bootstrap, bootstrap + 16)),
    version: view.getUint32(bootstrap + 16, true),
    size: imgSize,
  };
}

/** Over the header, the bootstrap header and the payload, as upstream's images have it. */
function hashOf(image: Uint8Array): Uint8Array {
  return createHash("sha256")
    .update(image.subarray(0, SHDR.size))
    .update(image.subarray(SHDR.size + HASH_SIZE + SIG_SIZE))
    .digest();
}

const signatureOf = (hash: Uint8Array): Uint8Array =>
  createHmac("sha256", SIGNING_KEY).update(hash).digest();
