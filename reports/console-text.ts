import type { BundleReader, CaseTime, Slice, StreamInfo } from "../harness/run/index.ts";
import { printable } from "./text.ts";

/** VT100: control sequences, operating system commands, and two-character escapes. */
const VT100 = new RegExp(
  ["\\[[0-?]*[ -/]*[@-~]", "\\][^\u0007\u001b]*(?:\u0007|\u001b\\\\)?", "[ -/]*[0-~]"]
    .map((part) => `\u001b(?:${part})`)
    .join("|"),
  "g",
);

/** Console bytes as a person reads them: UTF-8, VT100 removed, control characters made visible. */
export function consoleText(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
  return printable(
    text.replaceAll(VT100, "").replaceAll(/\r+\n/g, "\n").replaceAll("\r", "\u240d"),
  );
}

/** A console of one case: where it lies in the raw file, and its text within a bound. */
export interface ConsoleSlice {
  readonly stream: StreamInfo;
  readonly from: number;
  readonly to: number;
  readonly omitted: number;
  readonly text: string;
}

/** The case's own output first, then the worlds around it. */
const ORDER = ["xtest", "normal", "secure"];

function rank(name: string): number {
  const at = ORDER.indexOf(name);
  return at === -1 ? ORDER.length : at;
}

/** The consoles of a target while a case ran, each cut to `max` bytes. Empty when it never started. */
export async function consoleSlices(
  reader: BundleReader,
  time: CaseTime | undefined,
  max: number,
): Promise<ConsoleSlice[]> {
  if (time === undefined) return [];
  const out: ConsoleSlice[] = [];
  const streams = reader.info.streams.filter((stream) => stream.target === time.target);
  for (const stream of streams.toSorted((a, b) => rank(a.name) - rank(b.name))) {
    const from = time.from[stream.name] ?? 0;
    // A case that never ended owns everything to the end of the console.
    const to = time.to === undefined ? Number.MAX_SAFE_INTEGER : (time.to[stream.name] ?? from);
    const slice = await reader.slice(stream, from, to, max);
    if (slice.to === slice.from) continue;
    out.push({
      stream,
      from: slice.from,
      to: slice.to,
      omitted: slice.omitted,
      text: sliceText(stream, slice),
    });
  }
  return out;
}

function sliceText(stream: StreamInfo, slice: Slice): string {
  if (slice.omitted === 0) return consoleText(slice.bytes);
  const cut = slice.from + slice.head;
  const note = `\n… truncated: ${slice.omitted} bytes left out, see ${stream.file} from byte ${cut} to ${cut + slice.omitted} …\n`;
  return (
    consoleText(slice.bytes.subarray(0, slice.head)) +
    note +
    consoleText(slice.bytes.subarray(slice.head))
  );
}
