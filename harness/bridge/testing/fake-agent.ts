import { crc32 } from "node:zlib";
import {
  AGENT_INFO,
  AGENT_OPERATION,
  AGENT_STATUS,
  decodeRegisters,
  encodeRegisters,
  pack,
  unpack,
} from "../agent-codec.ts";
import { AGENT_SYNC, encodeFrame, FRAME_OVERHEAD, MAX_PAYLOAD } from "../agent-frame.ts";
import { ByteReader, encode } from "../agent-layout.ts";
import { AGENT_CONFIG, AGENT_PAGES } from "../agent-page.ts";
import type { LoaderConsole } from "../loader-console.ts";

export const FAKE_WINDOW = { base: 0x4800_0000, size: 0x10_0000 } as const;

/**
 * A board on which the agent runs, for faults that a real one does not produce on demand: it speaks
 * the protocol of boards/bridge/agent.s. What is typed at once is what comes without a gap.
 */
export class FakeAgent implements LoaderConsole {
  /** x0..x7 of every SMC that was carried out. */
  readonly executed: (readonly bigint[])[] = [];
  readonly ram: Buffer = Buffer.alloc(FAKE_WINDOW.size);
  smc: (x: readonly bigint[]) => readonly bigint[] | "never returns" = (x) => x;
  /** What the secure world prints on the same line during an SMC. */
  prints = "";
  /** What is left of the agent: it runs, nothing answers, or the boot loader echoes. */
  state: "runs" | "gone" | "prompt" = "prompt";
  readonly #gapMs: number;
  readonly #bytes = new Set<(bytes: Uint8Array) => void>();
  readonly #lost = new Set<(what: string) => void>();
  #config = new ByteReader(new Uint8Array(AGENT_PAGES.imageSize)).decode(AGENT_CONFIG);
  #page = 0;
  #sequence = -1;
  #answer: Uint8Array = new Uint8Array(0);
  #number = -1;
  #before: readonly bigint[] = [];
  #after: readonly bigint[] = [];

  constructor(gapMs: number) {
    this.#gapMs = gapMs;
  }

  /** What the real loader and prompt do for `AgentBridge.start`. */
  readonly loader = {
    write: async (at: number, image: Uint8Array): Promise<void> => {
      this.#page = at;
      this.#config = new ByteReader(image.subarray(AGENT_PAGES.config)).decode(AGENT_CONFIG);
    },
    makeFetchable: async (): Promise<void> => {},
  };
  readonly prompt = {
    leave: async (): Promise<void> => {
      this.state = "runs";
      this.#sequence = this.#config.sequence;
      this.#number = this.#config.number;
      this.say(Buffer.from("## Starting application at 0x48000000 ...\r\n"));
    },
    run: async (): Promise<string[]> => {
      if (this.state !== "prompt") throw new Error("there is no prompt");
      return [];
    },
  };

  async type(bytes: Uint8Array): Promise<void> {
    if (this.state === "gone") return;
    if (this.state === "prompt") this.say(bytes);
    else this.#take(Buffer.from(bytes));
  }

  onBytes(listener: (bytes: Uint8Array) => void): () => void {
    this.#bytes.add(listener);
    return () => this.#bytes.delete(listener);
  }

  onLost(listener: (what: string) => void): () => void {
    this.#lost.add(listener);
    return () => this.#lost.delete(listener);
  }

  lose(what: string): void {
    for (const listener of this.#lost) listener(what);
  }

  say(bytes: Uint8Array): void {
    setImmediate(() => {
      for (const listener of this.#bytes) listener(bytes);
    });
  }

  #take(bytes: Buffer): void {
    const length = bytes.length < FRAME_OVERHEAD ? -1 : bytes.readUInt16LE(1);
    const size = length + FRAME_OVERHEAD;
    const isFrame =
      bytes[0] === AGENT_SYNC.request &&
      length <= MAX_PAYLOAD &&
      bytes.length >= size &&
      crc32(bytes.subarray(0, size - 4)) === bytes.readUInt32LE(size - 4);
    if (isFrame) this.#request(bytes.readUInt16LE(3), bytes.subarray(5, 5 + length));
    if (isFrame && bytes.length === size) return;
    const payload = Uint8Array.of(AGENT_STATUS.noFrame);
    setTimeout(() => {
      this.say(encodeFrame(AGENT_SYNC.answer, { sequence: 0, payload }));
    }, this.#gapMs);
  }

  #request(sequence: number, payload: Buffer): void {
    if (sequence !== this.#sequence) {
      const reader = new ByteReader(payload);
      const results: Uint8Array[] = [Uint8Array.of(AGENT_STATUS.ok)];
      while (reader.left > 0) {
        const result = this.#operation(reader);
        if (result === "never returns") {
          this.state = "gone";
          return;
        }
        results.push(result);
      }
      this.#answer = encodeFrame(AGENT_SYNC.answer, { sequence, payload: Buffer.concat(results) });
      this.#sequence = sequence;
    }
    this.say(this.#answer);
  }

  #operation(reader: ByteReader): Uint8Array | "never returns" {
    const code = reader.number(1);
    switch (code) {
      case AGENT_OPERATION.info.code:
        return encode(AGENT_INFO, {
          version: 1,
          level: 2,
          maxPayload: MAX_PAYLOAD,
          counterHz: 8_000_000,
          address: this.#page,
        });
      case AGENT_OPERATION.read.code: {
        const { offset, length } = reader.decode(AGENT_OPERATION.read.fields);
        return pack(this.#at(offset, length));
      }
      case AGENT_OPERATION.write.code: {
        const { offset, length } = reader.decode(AGENT_OPERATION.write.fields);
        this.#at(offset, length).set(unpack(reader, length));
        return new Uint8Array(0);
      }
      case AGENT_OPERATION.checksums.code: {
        const { offset, size, count } = reader.decode(AGENT_OPERATION.checksums.fields);
        const out = Buffer.alloc(count * 4);
        for (let index = 0; index < count; index += 1) {
          out.writeUInt32LE(crc32(this.#at(offset + index * size, size)), index * 4);
        }
        return out;
      }
      case AGENT_OPERATION.fill.code: {
        const { offset, length, value } = reader.decode(AGENT_OPERATION.fill.fields);
        this.#at(offset, length).fill(value);
        return new Uint8Array(0);
      }
      case AGENT_OPERATION.interruptedSmc.code:
      case AGENT_OPERATION.smc.code: {
        if (code === AGENT_OPERATION.interruptedSmc.code) reader.number(4);
        return this.#call(reader.number(1), decodeRegisters(reader));
      }
      case AGENT_OPERATION.lastSmc.code:
        return Buffer.concat([Uint8Array.of(this.#number), encodeRegisters(this.#after)]);
      case AGENT_OPERATION.leave.code:
        this.state = "prompt";
        return new Uint8Array(0);
      default:
        throw new Error(`no such operation: ${code}`);
    }
  }

  #call(number: number, x: readonly bigint[]): Uint8Array | "never returns" {
    if (number !== this.#number) {
      const made = this.smc(x);
      this.executed.push(x);
      if (made === "never returns") return made;
      if (this.prints !== "") this.say(Buffer.from(this.prints));
      this.#number = number;
      this.#before = x;
      this.#after = made;
    }
    return encodeRegisters(this.#after, this.#before);
  }

  /** `offset` counts from the agent's window, which ends where the board's free RAM does. */
  #at(offset: number, length: number): Buffer {
    const from = offset + this.#config.window - FAKE_WINDOW.base;
    if (from < 0 || from + length > this.ram.length) throw new Error("outside of the window");
    return this.ram.subarray(from, from + length);
  }
}
