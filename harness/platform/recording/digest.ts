import { hash } from "node:crypto";
import type { TraceData } from "../../run/index.ts";
import { framesIn } from "./rpmb-frames.ts";
import { type PageOf, readSpan, type Span } from "./spans.ts";

/** Bytes of a parameter that a digest covers. */
export const MAX_DATA = 64 * 1024;
const DIGEST_DIGITS = 16;
const HEAD_BYTES = 32;

/**
 * The digest of the first `size` bytes, at most `limit` of them; undefined where one cannot be read.
 * From byte `framesFrom` on they may be RPMB frames.
 */
export function digestOf(
  pageOf: PageOf,
  span: Span,
  size: number,
  limit = MAX_DATA,
  framesFrom?: number,
): TraceData | undefined {
  const length = Math.min(size, limit);
  const bytes = length > 0 ? readSpan(pageOf, span, length) : undefined;
  if (bytes === undefined) return undefined;
  const head = Buffer.from(bytes.buffer, 0, Math.min(HEAD_BYTES, length)).toString("hex");
  const digest = hash("sha256", bytes, "hex").slice(0, DIGEST_DIGITS);
  const frames = framesFrom === undefined ? undefined : framesIn(bytes, framesFrom);
  return { size: length, digest, head, ...(frames === undefined ? {} : { frames }) };
}
