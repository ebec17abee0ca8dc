import { once } from "node:events";
import { Duplex } from "node:stream";
import { expect, jest, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget, type Clock } from "../base/index.ts";
import {
  decodeFrame,
  decodeWireAnswer,
  decodeWireHeader,
  decodeWireInfo,
  EmmcRpmb,
  encodeFrames,
  encodeWireAnswer,
  encodeWireRequest,
  FRAME_SIZE,
  framesAuthentic,
  RPMB_REQUEST,
  RPMB_RESULT,
  RPMB_WIRE,
  RPMB_WIRE_OP,
  RPMB_WIRE_STATUS,
  RpmbStateError,
  serveRpmb,
  type ServeOptions,
} from "./index.ts";
import { keyRequest, readRequest, TEST_CID, TEST_KEY, writeRequest } from "./testing/host.ts";

jest.setTimeout(120_000);

const { OK, EIO, EINVAL, EPROTO, EMSGSIZE, EOPNOTSUPP, ETIMEDOUT } = RPMB_WIRE_STATUS;
const { INFO, TRANSFER, WRITE, READ } = RPMB_WIRE_OP;
const NONE = new Uint8Array(0);
const COUNTER = readRequest(RPMB_REQUEST.READ_COUNTER);
const part = (): EmmcRpmb => new EmmcRpmb({ cid: TEST_CID, sizeMultiplier: 2, key: TEST_KEY });

/** The other end of a served part. */
class Guest {
  readonly stream: Duplex;
  nowMs = 0;
  #received = Buffer.alloc(0) as Buffer;

  constructor(device: EmmcRpmb, options: ServeOptions = {}) {
    const [mine, theirs] = pair();
    const clock: Clock = { monotonicMs: () => this.nowMs, wallMs: () => 0 };
    serveRpmb(theirs, device, { clock, ...options });
    this.stream = mine;
    mine.on("data", (bytes: Buffer) => {
      this.#received = Buffer.concat([this.#received, bytes]);
    });
  }

  send(bytes: Uint8Array): void {
    this.stream.write(bytes);
  }

  async answer(): Promise<{ status: number; bytes: Uint8Array }> {
    for (;;) {
      const answer = decodeWireAnswer(this.#received);
      if (answer !== undefined) {
        this.#received = this.#received.subarray(answer.size);
        return answer;
      }
      await once(this.stream, "data");
    }
  }

  async ask(
    op: number,
    responseFrames: number,
    frames = NONE as Uint8Array,
  ): Promise<{ status: number; bytes: Uint8Array }> {
    this.send(encodeWireRequest({ op, responseFrames, frames }));
    return await this.answer();
  }

  /** How many bytes came that nobody has taken. */
  async silence(): Promise<number> {
    for (let turn = 0; turn < 4; turn += 1) await new Promise((done) => setImmediate(done));
    return this.#received.length;
  }
}

/** One end of a connection: what is written here is read there, one chunk after the other. */
class End extends Duplex {
  other: End | undefined;
  #taken: (() => void) | undefined;

  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    if (this.other === undefined || this.other.push(chunk)) done();
    else this.other.#taken = done;
  }

  override _final(done: () => void): void {
    this.other?.push(null);
    done();
  }

  override _read(): void {
    const taken = this.#taken;
    this.#taken = undefined;
    taken?.();
  }
}

/** Two ends of one connection. */
function pair(): [End, End] {
  const ends: [End, End] = [new End(), new End()];
  [ends[0].other, ends[1].other] = [ends[1], ends[0]];
  return ends;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

test("the wire, byte by byte: requests of 12 bytes and frames, answers of 12 bytes and theirs", () => {
  const request = encodeWireRequest({ op: 1, responseFrames: 0x203, frames: COUNTER });
  expect(hex(request.subarray(0, 12))).toBe("52504d420100030201000000");
  expect(request.subarray(12)).toEqual(COUNTER);
  expect(hex(encodeWireAnswer(-22, Uint8Array.of(7)))).toBe("52504d42eaffffff0100000007");
  expect(decodeWireHeader(request)).toEqual({
    magic: RPMB_WIRE.magic,
    op: 1,
    responseFrames: 0x203,
    requestFrames: 1,
  });
  expect(decodeWireHeader(request.subarray(0, 11))).toBeUndefined();
  expect(() => encodeWireRequest({ op: 1, responseFrames: 0, frames: NONE.slice() })).not.toThrow();
  for (const wrong of [
    { op: 0x1_0000, responseFrames: 0, frames: NONE },
    { op: 0, responseFrames: -1, frames: NONE },
    { op: 0, responseFrames: 0, frames: new Uint8Array(511) },
  ]) {
    expect(() => encodeWireRequest(wrong)).toThrow(RangeError);
  }
  const answer = encodeWireAnswer(0, new Uint8Array(16));
  expect(decodeWireAnswer(answer.subarray(0, 27))).toBeUndefined();
  expect(() => decodeWireAnswer(new Uint8Array(12))).toThrow(RangeError);
  answer.set([0xff, 0xff, 0xff, 0x7f], 8);
  expect(() => decodeWireAnswer(answer)).toThrow(RangeError);
  expect(() => decodeWireInfo(new Uint8Array(543))).toThrow(RangeError);
});

test("a part that is served says its registers, and does whole operations or single commands", async () => {
  const device = part();
  const guest = new Guest(device);
  const info = await guest.ask(INFO, 0);
  expect([info.status, decodeWireInfo(info.bytes)]).toEqual([OK, device.registers]);
  const written = await guest.ask(TRANSFER, 1, writeRequest(0, 1023, [7]));
  expect(decodeFrame(written.bytes)).toMatchObject({ result: RPMB_RESULT.OK, writeCounter: 1 });
  expect(device.image().at(-1)).toBe(7);
  expect((await guest.ask(WRITE, 1, writeRequest(1, 0, [8]))).status).toBe(OK);
  const request = encodeFrames({ type: RPMB_REQUEST.READ_RESULT });
  expect(await guest.ask(WRITE, 0, request)).toMatchObject({ status: OK, bytes: NONE });
  const result = await guest.ask(READ, 1);
  expect(decodeFrame(result.bytes)).toMatchObject({ result: RPMB_RESULT.OK, writeCounter: 2 });
  // Without the flag of a reliable write nothing is written.
  await guest.ask(WRITE, 0, writeRequest(2, 0, [9]));
  expect(device.writeCounter).toBe(2);
  const read = await guest.ask(TRANSFER, 3, readRequest(RPMB_REQUEST.READ_DATA, 1021));
  expect(read.bytes.length).toBe(3 * FRAME_SIZE);
  expect(framesAuthentic(TEST_KEY, read.bytes)).toBe(true);
});

test("a key that a guest programs reaches the part, and nobody who listens", async () => {
  const device = new EmmcRpmb({ cid: TEST_CID, sizeMultiplier: 1 });
  const heard: string[] = [];
  const guest = new Guest(device, {
    onTransfer: ({ frames }, status, answer) =>
      heard.push(hex(frames), String(status), hex(answer)),
  });
  const request = keyRequest();
  expect(decodeFrame((await guest.ask(TRANSFER, 1, request)).bytes).result).toBe(RPMB_RESULT.OK);
  expect(framesAuthentic(TEST_KEY, (await guest.ask(TRANSFER, 1, COUNTER)).bytes)).toBe(true);
  expect(heard.length).toBe(6);
  expect(heard.join(" ")).not.toContain(hex(decodeFrame(request).keyMac));
});

test("what cannot be done is an errno: sizes, operations, no power, a state that cannot be kept", async () => {
  const device = part();
  const errors: unknown[] = [];
  const guest = new Guest(device, { onError: (error) => errors.push(error) });
  const statuses = [
    await guest.ask(TRANSFER, 0, COUNTER),
    await guest.ask(TRANSFER, 1),
    await guest.ask(WRITE, 1),
    await guest.ask(READ, 0),
    await guest.ask(4, 0),
    await guest.ask(0xffff, 1, COUNTER),
    await guest.ask(READ, RPMB_WIRE.maxFrames + 1),
  ].map(({ status }) => status);
  expect(statuses).toEqual([EINVAL, EINVAL, EINVAL, EINVAL, EOPNOTSUPP, EOPNOTSUPP, EMSGSIZE]);
  device.power.cutAfter(0);
  expect((await guest.ask(TRANSFER, 1, COUNTER)).status).toBe(ETIMEDOUT);
  device.powerOn();
  expect((await guest.ask(TRANSFER, 1, COUNTER)).status).toBe(OK);
  expect(errors).toEqual([]);
  const failing = EmmcRpmb.from(new EmmcRpmb({ cid: TEST_CID, sizeMultiplier: 1 }).snapshot(), {
    commit: () => {
      throw new RpmbStateError("no space left", "the disk");
    },
    replace: () => {},
    close: () => {},
  });
  const other = new Guest(failing, { onError: (error) => errors.push(error) });
  expect((await other.ask(TRANSFER, 1, keyRequest())).status).toBe(EIO);
  expect((await other.ask(TRANSFER, 1, COUNTER)).status).toBe(EIO);
  expect(errors.map(String)).toEqual(
    Array.from({ length: 2 }, () => "RpmbStateError: no space left"),
  );
});

test("requests come in any pieces, and several at once are answered in turn", async () => {
  const device = part();
  const guest = new Guest(device);
  const requests = [
    encodeWireRequest({ op: TRANSFER, responseFrames: 1, frames: COUNTER }),
    encodeWireRequest({ op: INFO, responseFrames: 0, frames: NONE }),
  ];
  const all = Buffer.concat(requests);
  for (const size of [1, 11, 12, 13, 500, all.length]) {
    for (let at = 0; at < all.length; at += size) guest.send(all.subarray(at, at + size));
    expect((await guest.answer()).bytes.length).toBe(FRAME_SIZE);
    expect((await guest.answer()).bytes.length).toBe(RPMB_WIRE.info.size);
  }
  expect(await guest.silence()).toBe(0);
});

test("half a request whose sender died is forgotten, and what is no request is told so", async () => {
  const device = part();
  const guest = new Guest(device, { stallMs: 500 });
  const whole = encodeWireRequest({ op: TRANSFER, responseFrames: 1, frames: COUNTER });
  guest.send(whole.subarray(0, 300));
  expect(await guest.silence()).toBe(0);
  guest.nowMs = 501;
  guest.send(whole);
  expect((await guest.answer()).status).toBe(OK);
  guest.send(Buffer.from("GET / HTTP/1.0\r\n\r\n"));
  expect((await guest.answer()).status).toBe(EPROTO);
  const huge = whole.slice();
  huge.set([0xff, 0xff, 0xff, 0xff], RPMB_WIRE.request.requestFrames);
  guest.send(huge);
  expect((await guest.answer()).status).toBe(EMSGSIZE);
  expect((await guest.ask(INFO, 0)).status).toBe(OK);
});

test("who asks and does not read the answers waits, and loses none", async () => {
  const device = part();
  const [mine, theirs] = pair();
  let transfers = 0;
  serveRpmb(theirs, device, { onTransfer: () => (transfers += 1) });
  const request = encodeWireRequest({ op: READ, responseFrames: 64, frames: NONE });
  for (let index = 0; index < 50; index += 1) mine.write(request);
  for (let turn = 0; turn < 20; turn += 1) await new Promise((done) => setImmediate(done));
  expect(transfers).toBeGreaterThan(0);
  expect(transfers).toBeLessThan(20);
  const wanted = 50 * (RPMB_WIRE.answer.size + 64 * FRAME_SIZE);
  await new Promise<void>((resolve) => {
    let bytes = 0;
    mine.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes === wanted) resolve();
    });
  });
  expect(transfers).toBe(50);
});

test("serving ends with the stream, or when it is stopped, and the part stays as it is", async () => {
  for (const end of ["stop", "end", "destroy"] as const) {
    const device = part();
    const [mine, theirs] = pair();
    mine.on("error", () => {});
    const service = serveRpmb(theirs, device);
    if (end === "stop") service.stop();
    else if (end === "end") mine.end();
    else theirs.destroy(new Error("the machine is gone"));
    await service.ended;
    expect(device.frames(COUNTER, 1).length).toBe(FRAME_SIZE);
  }
});

test("any bytes from a guest: nothing throws, nothing changes the part, and the next request is answered", async () => {
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc
      .record({
        op: fc.oneof(fc.nat(4), fc.nat(0xffff)),
        responseFrames: fc.oneof(fc.nat(3), fc.nat(0xffff)),
        frames: fc.nat(2),
        type: fc.nat(9),
        cut: fc.nat(1600),
      })
      .map(({ op, responseFrames, frames, type, cut }) => {
        const list = Array.from({ length: frames }, () => ({
          type,
          writeCounter: 0,
          blockCount: 1,
        }));
        return encodeWireRequest({ op, responseFrames, frames: encodeFrames(...list) }).subarray(
          0,
          cut,
        );
      }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 8 }), async (pieces) => {
      const device = part();
      const errors: unknown[] = [];
      const guest = new Guest(device, { onError: (error) => errors.push(error) });
      for (const bytes of pieces) guest.send(bytes);
      await guest.silence();
      guest.nowMs = 5000;
      guest.send(encodeWireRequest({ op: INFO, responseFrames: 0, frames: NONE }));
      let last = await guest.answer();
      while ((await guest.silence()) > 0) last = await guest.answer();
      expect(last.bytes.length).toBe(RPMB_WIRE.info.size);
      const { writeCounter, secureWp, data } = device.snapshot();
      expect([writeCounter, secureWp, errors]).toEqual([0, { enable: 0, config: 0 }, []]);
      expect(Buffer.from(data).equals(Buffer.alloc(data.length))).toBe(true);
    }),
    { numRuns: budget(60, 2000) },
  );
});
