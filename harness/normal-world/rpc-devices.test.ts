import { expect, test } from "@jest/globals";
import { budget, Random } from "../base/index.ts";
import type { Ipa } from "../machine/index.ts";
import { ATTR_TYPE, RPC_CMD, RPMB_DEVICE, SEC_CAP, SHM_TYPE, TEEC } from "../optee-abi/index.ts";
import {
  EmmcRpmb,
  encodeFrames,
  FRAME,
  FRAME_SIZE,
  intoKey,
  numberOf,
  RPMB_REQUEST,
  RPMB_RESPONSE,
  RPMB_RESULT,
  setNumber,
} from "../rpmb/index.ts";
import { EmulatedI2cBus, I2cEeprom } from "./i2c.ts";
import { Bench, type BootOptions } from "./testkit/boot.ts";
import { inSecureWorld, VALUE_IN, VALUE_OUT } from "./testkit/rpc.ts";
import type { RpcReply, RpcWords, Script, ScriptedCall } from "./testkit/scripted-world.ts";

const OK = TEEC.TEEC_SUCCESS;
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const { DYNAMIC_SHM, RPC_ARG, RPMB_PROBE, MEMREF_NULL } = SEC_CAP;
const { RMEM_INPUT, RMEM_OUTPUT, RMEM_INOUT } = ATTR_TYPE;

/** Kernel memory for the data of a script's RPCs. */
class Payload {
  readonly #call: ScriptedCall;
  readonly cookie: bigint;
  readonly #page: number;

  constructor(call: ScriptedCall, cookie: bigint, page: number) {
    this.#call = call;
    this.cookie = cookie;
    this.#page = page;
  }

  write(bytes: Uint8Array, at = 0): void {
    this.#call.world.memory.write((this.#page + at) as Ipa, bytes);
  }

  read(length: number, at = 0): Uint8Array {
    return this.#call.world.memory.read((this.#page + at) as Ipa, length);
  }

  memref(attr: number, size: number, at = 0): RpcWords {
    return { attr, a: at, b: size, c: this.cookie };
  }
}

function* payload(call: ScriptedCall): Script<Payload> {
  const { cookie, pages } = yield* call.allocate(SHM_TYPE.KERNEL, 4096);
  return new Payload(call, cookie, pages[0] ?? 0);
}

type Body<T> = (call: ScriptedCall, data: Payload) => Script<T>;

/** Runs `body` in the secure world with a page of kernel memory. */
function withPayload<T>(bench: Bench, body: Body<T>): T {
  return bench.run(
    inSecureWorld(bench, function* run(call): Script<T> {
      return yield* body(call, yield* payload(call));
    }),
  );
}

interface Transfer {
  readonly mode: number;
  readonly bus: number;
  readonly chip: number;
  readonly flags?: number;
  readonly size: number;
  readonly at?: number;
}

const transfer = (call: ScriptedCall, data: Payload, of: Transfer): Script<RpcReply> =>
  call.rpc(
    RPC_CMD.I2C_TRANSFER,
    { attr: VALUE_IN, a: of.mode, b: of.bus, c: of.chip },
    { attr: VALUE_IN, a: of.flags ?? 0 },
    data.memref(RMEM_INOUT, of.size, of.at ?? 0),
    { attr: VALUE_OUT },
  );

function i2cBench(): { bench: Bench; eeprom: I2cEeprom; wide: I2cEeprom } {
  const slow = new EmulatedI2cBus();
  const fast = new EmulatedI2cBus({ tenBit: true });
  const [eeprom, wide] = [new I2cEeprom(), new I2cEeprom()];
  slow.chips.set(0x50, eeprom);
  fast.tenBitChips.set(0x350, wide);
  const i2c = new Map([
    [0, slow],
    [2, fast],
  ]);
  return { bench: new Bench({ kernel: { i2c } }).probed(), eeprom, wide };
}

test("MSG-3.I2C_TRANSFER: bytes are written to and read from the chip of a bus", () => {
  const { bench, eeprom } = i2cBench();
  const seen = withPayload(bench, function* body(call, data): Script<unknown[]> {
    data.write(Uint8Array.of(16, 1, 2, 3));
    const wrote = yield* transfer(call, data, { mode: 1, bus: 0, chip: 0x50, size: 4 });
    data.write(Uint8Array.of(16));
    yield* transfer(call, data, { mode: 1, bus: 0, chip: 0x50, size: 1 });
    const read = yield* transfer(call, data, { mode: 0, bus: 0, chip: 0x50, size: 4 });
    return [wrote.ret, wrote.params[3]?.a, read.ret, read.params[3]?.a, [...data.read(4)]];
  });
  expect(seen).toEqual([OK, 4n, OK, 4n, [1, 2, 3, 0xff]]);
  expect(eeprom.contents.slice(16, 19)).toEqual(Uint8Array.of(1, 2, 3));
});

test("MSG-3.I2C_TRANSFER: the data are at the start of their memory, whatever offset is named", () => {
  const { bench, eeprom } = i2cBench();
  withPayload(bench, function* body(call, data): Script {
    data.write(Uint8Array.of(0, 0xaa));
    data.write(Uint8Array.of(0, 0xbb), 100);
    return (yield* transfer(call, data, { mode: 1, bus: 0, chip: 0x50, size: 2, at: 100 })).ret;
  });
  expect(eeprom.contents[0]).toBe(0xaa);
});

test("MSG-3.I2C_TRANSFER: nobody who acknowledges is COMMUNICATION", () => {
  const { bench } = i2cBench();
  const codes = withPayload(bench, function* body(call, data): Script<number[]> {
    const read = yield* transfer(call, data, { mode: 0, bus: 0, chip: 0x51, size: 1 });
    const write = yield* transfer(call, data, { mode: 1, bus: 0, chip: 0x51, size: 1 });
    return [read.ret, write.ret];
  });
  expect(codes).toEqual([TEEC.TEEC_ERROR_COMMUNICATION, TEEC.TEEC_ERROR_COMMUNICATION]);
});

test("MSG-3.I2C_TRANSFER: 10-bit addresses need a bus that has them", () => {
  const { bench, wide } = i2cBench();
  wide.contents[0] = 0x42;
  const codes = withPayload(bench, function* body(call, data): Script<number[]> {
    const ten = { mode: 0, chip: 0x350, flags: 1, size: 1 };
    const without = yield* transfer(call, data, { ...ten, bus: 0 });
    const found = yield* transfer(call, data, { ...ten, bus: 2 });
    const seven = yield* transfer(call, data, { ...ten, bus: 2, flags: 0 });
    return [without.ret, found.ret, data.read(1)[0] ?? 0, seven.ret];
  });
  expect(codes).toEqual([BAD, OK, 0x42, TEEC.TEEC_ERROR_COMMUNICATION]);
});

test("MSG-3.I2C_TRANSFER: unknown buses and modes and other shapes are BAD_PARAMETERS", () => {
  const { bench } = i2cBench();
  const codes = withPayload(bench, function* body(call, data): Script<number[]> {
    const bus = yield* transfer(call, data, { mode: 0, bus: 9, chip: 0x50, size: 1 });
    const mode = yield* transfer(call, data, { mode: 2, bus: 0, chip: 0x50, size: 1 });
    const few = yield* call.rpc(RPC_CMD.I2C_TRANSFER, { attr: VALUE_IN });
    const types = yield* call.rpc(
      RPC_CMD.I2C_TRANSFER,
      { attr: VALUE_IN },
      { attr: VALUE_IN },
      data.memref(RMEM_INPUT, 1),
      { attr: VALUE_OUT },
    );
    return [bus.ret, mode.ret, few.ret, types.ret];
  });
  expect(codes).toEqual([BAD, BAD, BAD, BAD]);
});

test("MSG-3.I2C_TRANSFER: a kernel without I2C does not support it", () => {
  const code = withPayload(new Bench().probed(), function* body(call, data): Script {
    return (yield* transfer(call, data, { mode: 0, bus: 0, chip: 0x50, size: 1 })).ret;
  });
  expect(code).toBe(TEEC.TEEC_ERROR_NOT_SUPPORTED);
});

const cid = (last: number): Uint8Array => Uint8Array.from([...new Uint8Array(15), last]);
const emmc = (last: number): EmmcRpmb => new EmmcRpmb({ cid: cid(last), sizeMultiplier: last });

function rpmbBench(devices: readonly EmmcRpmb[] | undefined, options: BootOptions = {}): Bench {
  const kernel = devices === undefined ? {} : { rpmb: devices };
  const capabilities = DYNAMIC_SHM | MEMREF_NULL | RPC_ARG | RPMB_PROBE;
  return new Bench({ capabilities, kernel, ...options }).boot();
}

const reset = (call: ScriptedCall): Script<RpcReply> =>
  call.rpc(RPC_CMD.RPMB_PROBE_RESET, { attr: VALUE_OUT, a: 9, b: 9, c: 9 });

const next = (call: ScriptedCall, data: Payload, size = 16): Script<RpcReply> =>
  call.rpc(RPC_CMD.RPMB_PROBE_NEXT, { attr: VALUE_OUT }, data.memref(RMEM_OUTPUT, size));

test("MSG-3.RPMB_PROBE_RESET, MSG-3.RPMB_PROBE_NEXT, MSG-6.UFS_NVME, RPMB-2.2.SHM_TYPE, RPMB-7.2: the kernel's eMMC parts come in turn, and again after the last", () => {
  const bench = rpmbBench([emmc(1), emmc(2)]);
  expect(bench.driver.rpmbRoutingModel).toBe("kernel");
  const seen = withPayload(bench, function* body(call, data): Script<unknown[]> {
    const started = yield* reset(call);
    const found: unknown[] = [started.ret, started.params[0]];
    for (let turn = 0; turn < 4; turn += 1) {
      const { ret, params } = yield* next(call, data);
      const [device, id] = params;
      found.push(ret === OK ? [device?.a, device?.b, device?.c, id?.b, data.read(16)[15]] : ret);
    }
    return found;
  });
  const kind = BigInt(RPMB_DEVICE.EMMC);
  expect(seen).toEqual([
    OK,
    { attr: 2n, a: BigInt(SHM_TYPE.KERNEL), b: 0n, c: 0n },
    [kind, 1n, 1n, 16n, 1],
    [kind, 2n, 1n, 16n, 2],
    TEEC.TEEC_ERROR_ITEM_NOT_FOUND,
    [kind, 1n, 1n, 16n, 1],
  ]);
});

test("MSG-3.RPMB_PROBE_NEXT: a buffer that is too small costs the device its turn", () => {
  const bench = rpmbBench([emmc(1), emmc(2)]);
  const codes = withPayload(bench, function* body(call, data): Script<number[]> {
    yield* reset(call);
    const small = yield* next(call, data, 15);
    const second = yield* next(call, data);
    return [small.ret, second.ret, data.read(16)[15] ?? 0];
  });
  expect(codes).toEqual([TEEC.TEEC_ERROR_SHORT_BUFFER, OK, 2]);
});

const COUNTER = encodeFrames({
  type: RPMB_REQUEST.READ_COUNTER,
  nonce: new Uint8Array(16).fill(7),
});

/** Sends `request` and gives the code and the type and result of the answer. */
function* frames(
  call: ScriptedCall,
  data: Payload,
  request: Uint8Array,
  room = FRAME_SIZE,
): Script<number[]> {
  data.write(request);
  const reply = yield* call.rpc(
    RPC_CMD.RPMB_FRAMES,
    data.memref(RMEM_INPUT, request.length),
    data.memref(RMEM_OUTPUT, room, 2048),
  );
  const answer = data.read(FRAME_SIZE, 2048);
  return [reply.ret, numberOf(answer, FRAME.type), numberOf(answer, FRAME.result)];
}

test("MSG-3.RPMB_FRAMES, RPMB-2.2.FRAMES, RPMB-7.4: frames reach the device that was found last, without a header", () => {
  const bench = rpmbBench([emmc(1)]);
  const seen = withPayload(bench, function* body(call, data): Script<number[][]> {
    const early = yield* frames(call, data, COUNTER);
    yield* reset(call);
    yield* next(call, data);
    const found = yield* frames(call, data, COUNTER);
    yield* next(call, data);
    const gone = yield* frames(call, data, COUNTER);
    return [early.slice(0, 1), found, gone.slice(0, 1)];
  });
  expect(seen).toEqual([
    [TEEC.TEEC_ERROR_ITEM_NOT_FOUND],
    [OK, RPMB_RESPONSE.READ_COUNTER, RPMB_RESULT.KEY_NOT_PROGRAMMED],
    [TEEC.TEEC_ERROR_ITEM_NOT_FOUND],
  ]);
});

test("MSG-3.RPMB_FRAMES, RPMB-7.3: sizes that do not fit the request, and requests that drivers make themselves, are BAD_PARAMETERS", () => {
  const bench = rpmbBench([emmc(1)]);
  const two = encodeFrames({ type: RPMB_REQUEST.READ_COUNTER }, {});
  const codes = withPayload(bench, function* body(call, data): Script<number[]> {
    yield* reset(call);
    yield* next(call, data);
    const results: number[][] = [
      yield* frames(call, data, COUNTER.subarray(1)),
      yield* frames(call, data, COUNTER, 0),
      yield* frames(call, data, COUNTER, 1024),
      yield* frames(call, data, two),
      yield* frames(call, data, encodeFrames({ type: RPMB_REQUEST.READ_RESULT })),
      yield* frames(call, data, encodeFrames({ type: RPMB_REQUEST.WRITE_DATA }), 1024),
      yield* frames(call, data, encodeFrames({ type: RPMB_REQUEST.READ_DATA }, {}), 512),
    ];
    return results.map(([code = 0]) => code);
  });
  expect(codes).toEqual(codes.map(() => BAD));
  const shapes = withPayload(bench, function* body(call, data): Script<number[]> {
    const wrong = yield* call.rpc(RPC_CMD.RPMB_PROBE_RESET, { attr: VALUE_IN });
    const short = yield* call.rpc(RPC_CMD.RPMB_PROBE_NEXT, { attr: VALUE_OUT });
    const swapped = yield* call.rpc(
      RPC_CMD.RPMB_FRAMES,
      data.memref(RMEM_OUTPUT, 512),
      data.memref(RMEM_INPUT, 512),
    );
    return [wrong.ret, short.ret, swapped.ret];
  });
  // The walk was started again by nothing of that: the device found before is still there.
  expect(shapes).toEqual([BAD, BAD, BAD]);
});

test("MSG-3.RPMB_PROBE_RESET, MSG-6.RPMB_PROBE, RPMB-7.1, RPMB-4.ANNOUNCE_PROBE_CAP: without the capability or kernel support it is the supplicant's, which refuses", () => {
  const old = DYNAMIC_SHM | MEMREF_NULL | RPC_ARG;
  for (const bench of [rpmbBench(undefined), rpmbBench([emmc(1)], { capabilities: old })]) {
    expect(bench.driver.rpmbRoutingModel).toBe("user");
    const code = bench.run(
      inSecureWorld(bench, function* body(call): Script {
        return (yield* reset(call)).ret;
      }),
    );
    expect(code).toBe(TEEC.TEEC_ERROR_NOT_SUPPORTED);
  }
});

test("RPMB-7.3, RPMB-7.4: any frames through the kernel are answered with a code, and change no part without its key", () => {
  const device = new EmmcRpmb({
    cid: cid(1),
    sizeMultiplier: 1,
    key: intoKey(new Uint8Array(32).fill(3)),
  });
  const random = new Random(11);
  const codes = withPayload(rpmbBench([device]), function* body(call, data): Script<Set<number>> {
    yield* reset(call);
    yield* next(call, data);
    const seen = new Set<number>();
    for (let turn = 0; turn < budget(300, 20_000); turn += 1) {
      const request = random.bytes(random.below(2) === 0 ? FRAME_SIZE : random.below(1600));
      if (request.length >= FRAME_SIZE) setNumber(request, FRAME.type, random.below(9));
      data.write(request);
      const sizes = [0, 511, FRAME_SIZE, 1024, random.below(2048)];
      const reply = yield* call.rpc(
        RPC_CMD.RPMB_FRAMES,
        data.memref(RMEM_INPUT, request.length),
        data.memref(RMEM_OUTPUT, sizes[random.below(sizes.length)] ?? 0, 2048),
      );
      seen.add(reply.ret);
    }
    return seen;
  });
  expect(codes).toEqual(new Set([OK, BAD]));
  expect([device.writeCounter, device.image().every((byte) => byte === 0)]).toEqual([0, true]);
});
