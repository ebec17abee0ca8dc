import { createHmac } from "node:crypto";
import { findHukSource, hukOf } from "../../rpmb/index.ts";
import { deriveBatch } from "./derive-batch.ts";

export interface BatchBench {
  /** Rate of batch mode over that of bare HMAC-SHA-256 of the same messages; higher is better. */
  readonly ratio: number;
  readonly derivationsPerSecond: number;
  readonly batchMs: number;
  readonly hmacMs: number;
}

const ROWS = 20_000;
const PIECE = 65_536;

/**
 * Measures batch mode from bytes to bytes, CSV with a hardware unique key of its own on every row in
 * and key ids out, against as many HMACs with as many keys and nothing else. Rounds in turns, the
 * fastest of each counts.
 */
export async function benchBatch(rounds = 5): Promise<BatchBench> {
  const source = findHukSource("given");
  if (source === undefined) throw new RangeError("no source takes a value");
  const keys = Array.from({ length: ROWS }, (_, row) => Buffer.alloc(16, row & 0xff));
  const messages = Array.from({ length: ROWS }, (_, row) => {
    const message = Buffer.alloc(16);
    message.writeUInt32BE(row, 4);
    return message;
  });
  const rows = messages.map((message, row) => {
    const huk = keys[row]?.toString("hex") ?? "";
    return `SN${String(row).padStart(8, "0")},${message.toString("hex")},${huk}\n`;
  });
  const file = Buffer.from(`serial,cid,huk\n${rows.join("")}`);
  const options = {
    format: "csv",
    compat: true,
    source,
    references: new Map([["zero-stub", hukOf(findHukSource("zero-stub") ?? source)]]),
    report: () => {},
  } as const;
  let [batchMs, hmacMs] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let round = 0; round < rounds; round += 1) {
    const counts = { rows: 0, failed: 0, oddCids: 0 };
    const started = performance.now();
    let bytes = 0;
    for await (const piece of deriveBatch(pieces(file), options, counts)) bytes += piece.length;
    const middle = performance.now();
    for (const [row, key] of keys.entries()) {
      const message = messages[row];
      if (message !== undefined) createHmac("sha256", key).update(message).digest();
    }
    const ended = performance.now();
    if (counts.rows - counts.failed !== ROWS || bytes === 0) throw new RangeError("rows were lost");
    batchMs = Math.min(batchMs, middle - started);
    hmacMs = Math.min(hmacMs, ended - middle);
  }
  const derivationsPerSecond = Math.round((ROWS / batchMs) * 1000);
  return { ratio: hmacMs / batchMs, derivationsPerSecond, batchMs, hmacMs };
}

function* pieces(file: Buffer): Generator<Buffer> {
  for (let at = 0; at < file.length; at += PIECE) yield file.subarray(at, at + PIECE);
}
