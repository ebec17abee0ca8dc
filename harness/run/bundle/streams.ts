import path from "node:path";
import type { KnownSecrets } from "../mask/known-secrets.ts";
import { type Masked, StreamMasker } from "../mask/stream-masker.ts";
import type { FileDigest, Redaction, StreamInfo } from "../model.ts";
import { AppendFile } from "./disk.ts";
import { consoleFile } from "./layout.ts";

interface Stream {
  readonly info: StreamInfo;
  readonly file: AppendFile;
  readonly masker: StreamMasker;
  /** Monotonic ms of the last bytes. */
  fed: number;
}

/** Silence in milliseconds after which held-back bytes are no longer waited with. */
const QUIET_MS = 1000;

/** The raw console files of a bundle: naming, masking, redactions. */
export class StreamSet {
  readonly #dir: string;
  readonly #known: KnownSecrets;
  readonly #boards: readonly string[];
  readonly #streams = new Map<string, Stream>();
  readonly #redactions: Redaction[] = [];

  constructor(dir: string, known: KnownSecrets, boards: readonly string[]) {
    this.#dir = dir;
    this.#known = known;
    this.#boards = boards;
  }

  get infos(): StreamInfo[] {
    return [...this.#streams.values()].map((stream) => stream.info);
  }

  get redactions(): readonly Redaction[] {
    return this.#redactions;
  }

  /** Whether any stream holds bytes back. */
  get holding(): boolean {
    return [...this.#streams.values()].some((stream) => stream.masker.held > 0);
  }

  /** Takes bytes in; tells how many may be written and whether run.json must tell of something new. */
  push(
    target: string,
    name: string,
    bytes: Uint8Array,
    now: number,
  ): { ready: number; news: boolean } {
    const key = JSON.stringify([target, name]);
    let stream = this.#streams.get(key);
    const isNew = stream === undefined;
    if (stream === undefined) {
      const file = this.#fileFor(target, name);
      stream = {
        info: { target, name, file },
        file: new AppendFile(path.join(this.#dir, file)),
        masker: new StreamMasker(this.#known),
        fed: now,
      };
      this.#streams.set(key, stream);
    }
    stream.fed = now;
    const masked = stream.masker.push(bytes);
    return { ready: masked.bytes.length, news: this.#keep(stream, masked) || isNew };
  }

  /** Hands out held-back bytes of streams that went quiet, or of all. Tells whether anything was redacted. */
  release(which: { quietAt: number } | "all"): boolean {
    let news = false;
    for (const stream of this.#streams.values()) {
      if (stream.masker.held === 0) continue;
      if (which !== "all" && which.quietAt - stream.fed < QUIET_MS) continue;
      news = this.#keep(stream, stream.masker.release()) || news;
    }
    return news;
  }

  drain(): void {
    for (const { file } of this.#streams.values()) file.drain();
  }

  sync(): void {
    for (const { file } of this.#streams.values()) file.sync();
  }

  close(): void {
    for (const { file } of this.#streams.values()) file.close();
  }

  digests(): [string, FileDigest][] {
    return [...this.#streams.values()].map(({ info, file }) => [info.file, file.digest()]);
  }

  #keep(stream: Stream, masked: Masked): boolean {
    for (const one of masked.redactions) this.#redact({ file: stream.info.file, ...one });
    stream.file.append(masked.bytes);
    return masked.redactions.length > 0;
  }

  /** Neighbouring spans with one reason become one, so that chunk borders leave no trace. */
  #redact(redaction: Redaction): void {
    const { file, offset, length, reason } = redaction;
    const at = this.#redactions.findLastIndex((one) => one.file === file);
    const last = this.#redactions[at];
    if (last?.reason === reason && last.offset + last.length === offset) {
      this.#redactions[at] = { ...last, length: last.length + length };
    } else {
      this.#redactions.push(redaction);
    }
  }

  /** A plain name where only one board has consoles, and then for that board only. */
  #fileFor(target: string, name: string): string {
    const taken = new Set(this.infos.map((info) => info.file));
    const plain = consoleFile(name);
    const [only] = this.#boards;
    const isPlain = only === undefined || (this.#boards.length === 1 && only === target);
    if (isPlain && !taken.has(plain)) return plain;
    for (let i = 1; ; i++) {
      const file = consoleFile(i === 1 ? name : `${name}-${i}`, target);
      if (!taken.has(file)) return file;
    }
  }
}
