import { crc16, type ModemMode } from "../ymodem.ts";

const [SOH, STX, EOT, ACK, NAK, CAN, C] = [0x01, 0x02, 0x04, 0x06, 0x15, 0x18, 0x43];

/** How long the rest of a block is waited for, which is seconds on the real thing. */
const BLOCK_MS = 20;

interface Ends {
  say(bytes: Uint8Array): void;
  store(offset: number, bytes: Uint8Array): void;
  end(text: string): void;
}

/** The receiving end of a transfer, as a boot loader's `loady` and `loadx` are. */
export class FakeReceiver {
  readonly #mode: ModemMode;
  readonly #ends: Ends;
  #block: number[] = [];
  #cancels = 0;
  #expected: number;
  #offset = 0;
  #length = Number.POSITIVE_INFINITY;
  #over = false;
  #waiting: NodeJS.Timeout | undefined;

  constructor(mode: ModemMode, ends: Ends) {
    this.#mode = mode;
    this.#ends = ends;
    this.#expected = mode === "ymodem" ? 0 : 1;
    this.#say(C);
  }

  take(byte: number): void {
    clearTimeout(this.#waiting);
    this.#take(byte);
    if (this.#block.length > 0) this.#waiting = setTimeout(() => this.#giveUpBlock(), BLOCK_MS);
  }

  /** The rest of a block does not come: it is asked for again. */
  #giveUpBlock(): void {
    this.#block = [];
    this.#say(NAK);
  }

  #take(byte: number): void {
    if (this.#block.length === 0) {
      this.#cancels = byte === CAN ? this.#cancels + 1 : 0;
      if (this.#cancels === 3) this.#ends.end("## Binary (modem) download aborted");
      else if (byte === EOT) this.#file();
      else if (byte === SOH || byte === STX) this.#block.push(byte);
      return;
    }
    this.#block.push(byte);
    const size = this.#block[0] === STX ? 1024 : 128;
    if (this.#block.length < size + 5) return;
    const [, number = 0, inverse = 0, ...rest] = this.#block;
    this.#block = [];
    const content = Uint8Array.from(rest.slice(0, size));
    const crc = (rest[size] ?? 0) * 256 + (rest[size + 1] ?? 0);
    if ((number ^ inverse) !== 0xff || crc !== crc16(content)) this.#say(NAK);
    else this.#good(number, content);
  }

  #good(number: number, content: Uint8Array): void {
    if (this.#over) {
      this.#ends.end("## Total Size");
      return;
    }
    // A block that came before: its acknowledgement was lost.
    if (number === ((this.#expected - 1) & 0xff)) {
      this.#say(ACK);
      return;
    }
    if (number !== (this.#expected & 0xff)) {
      this.#say(NAK);
      return;
    }
    if (this.#mode === "ymodem" && this.#expected === 0) {
      const [, length = ""] = Buffer.from(content).toString("latin1").split("\0");
      this.#length = Number.parseInt(length, 10);
      this.#say(ACK, C);
    } else {
      const left = Math.max(0, this.#length - this.#offset);
      this.#ends.store(this.#offset, content.subarray(0, left));
      this.#offset += content.length;
      this.#say(ACK);
    }
    this.#expected += 1;
  }

  #file(): void {
    if (this.#mode === "xmodem") {
      this.#say(ACK);
      this.#ends.end("## Total Size");
      return;
    }
    this.#over = true;
    this.#say(ACK, C);
  }

  #say(...bytes: readonly number[]): void {
    this.#ends.say(Uint8Array.from(bytes));
  }
}
