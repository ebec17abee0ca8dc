import { expect, test } from "@jest/globals";
import { PAGE_SIZE, type Task } from "../machine/index.ts";
import { ATTR_TYPE, MSG_CMD, SEC_CAP, TEEC, WORD } from "../optee-abi/index.ts";
import { CANCEL_ARG } from "../tee-uapi/index.ts";
import { type TeecContext, teecInitializeContext, type TeecSession } from "./libteec.ts";
import { TEEC_PARAM, type TeecMemory, TeecParam } from "./libteec-params.ts";
import type { Linux } from "./linux.ts";
import { Process } from "./process.ts";
import { TeeDevice } from "./tee-device.ts";
import { Bench } from "./testkit/boot.ts";
import type { UserBuffer } from "./user-memory.ts";

const { DYNAMIC_SHM, HAVE_RESERVED_SHM, MEMREF_NULL, RPC_ARG } = SEC_CAP;
const DYNAMIC = DYNAMIC_SHM | MEMREF_NULL | RPC_ARG;
const BAD = { result: TEEC.TEEC_ERROR_BAD_PARAMETERS, origin: 1 };

interface Desk {
  readonly bench: Bench;
  readonly tee: TeecContext;
  readonly session: TeecSession;
  /** Messages that the driver sent since the session was opened, by command. */
  readonly commands: number[];
  /** Parameter 0 of the last invocation: attributes, offset or address, size. */
  readonly last: number[];
}

/** A client with a session, on a secure world that answers sizes with `size` when it is told one. */
function desk(body: (desk: Desk) => Task, capabilities = DYNAMIC, size?: number): void {
  const bench = new Bench({ capabilities }).probed();
  const commands: number[] = [];
  const last: number[] = [];
  bench.run(
    (function* (): Task {
      const { context: tee } = yield* teecInitializeContext(bench.linux.process("client"));
      if (tee === undefined) throw new Error("no TEE");
      const { session } = yield* tee.openSession("d96a5b40-c3e5-21e3-8794-1002a5d5c61b");
      if (session === undefined) throw new Error("no session");
      bench.world.onMessage = ({ message }): undefined => {
        commands.push(message.cmd);
        if (message.cmd !== MSG_CMD.INVOKE_COMMAND) return;
        const words = [WORD.attr, WORD.a, WORD.size].map((word) => message.number(0, word));
        last.splice(0, 3, ...words);
        if (size !== undefined) message.setNumber(0, WORD.size, size);
      };
      yield* body({ bench, tee, session, commands, last });
    })(),
  );
}

function bytes(tee: TeecContext, contents: readonly number[] | number, offset = 0): UserBuffer {
  const size = typeof contents === "number" ? contents : contents.length;
  const made = tee.process.memory.allocate(size, offset);
  if (made === undefined) throw new Error("no memory");
  if (typeof contents !== "number") made.write(Uint8Array.from(contents));
  return made;
}

function* registered(tee: TeecContext, from: UserBuffer, flags = 3): Task<TeecMemory> {
  const { memory } = yield* tee.registerSharedMemory(from, flags);
  if (memory === undefined) throw new Error("not registered");
  return memory;
}

test("MSG-5.VALUE: values pass as values, and outputs come back", () => {
  desk(function* body({ bench, tee, session, last }) {
    const value = TeecParam.value(TEEC_PARAM.VALUE_INOUT, 5, 6);
    bench.world.onMessage = ({ message }) => {
      last.push(message.low(0, WORD.attr), message.low(0, WORD.a), message.low(0, WORD.b));
      message.setNumber(0, WORD.a, 50);
      message.setNumber(0, WORD.b, 60);
      return 0;
    };
    yield* tee.invokeCommand(session, 1, [value]);
    expect([...last, value.a, value.b]).toEqual([ATTR_TYPE.VALUE_INOUT, 5, 6, 50, 60]);
  });
});

test("MSG-5.MEMREF_TEMP, TEE-5.TEMP: a temporary buffer is registered for one call", () => {
  desk(
    function* body({ tee, session, commands, last, bench }) {
      const param = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_OUTPUT, bytes(tee, 5000, 100));
      expect((yield* tee.invokeCommand(session, 1, [param])).result).toBe(0);
      expect(commands).toEqual([
        MSG_CMD.REGISTER_SHM,
        MSG_CMD.INVOKE_COMMAND,
        MSG_CMD.UNREGISTER_SHM,
      ]);
      expect([...last, param.size]).toEqual([ATTR_TYPE.RMEM_OUTPUT, 0, 5000, 9000]);
      expect(bench.linux.devices.get("/dev/tee0")?.shmIds).toEqual([]);
    },
    DYNAMIC,
    9000,
  );
});

test("MSG-5.MEMREF_TEMP, TEE-5.TEMP: without registration it is copied into the pool and back, as far as it goes", () => {
  for (const size of [2, 4, 100]) {
    desk(
      function* body({ bench, tee, session, commands }) {
        const buffer = bytes(tee, [1, 2, 3, 4]);
        const param = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INOUT, buffer);
        const { onMessage } = bench.world;
        let sent: number[] = [];
        bench.world.onMessage = (call) => {
          const at = call.message.number(0, WORD.a);
          const page = bench.world.memory.page((at - (at % PAGE_SIZE)) as never);
          sent = [...(page?.subarray(at % PAGE_SIZE, (at % PAGE_SIZE) + 4) ?? [])];
          page?.set([9, 8, 7, 6], at % PAGE_SIZE);
          return onMessage?.(call);
        };
        yield* tee.invokeCommand(session, 1, [param]);
        expect([commands, sent]).toEqual([[MSG_CMD.INVOKE_COMMAND], [1, 2, 3, 4]]);
        expect([...buffer.read()]).toEqual(size === 2 ? [9, 8, 3, 4] : [9, 8, 7, 6]);
        expect(param.size).toBe(size);
      },
      HAVE_RESERVED_SHM,
      size,
    );
  }
});

function* invokeNull({ tee, session }: Desk, size: number) {
  const param = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INPUT, null, size);
  return yield* tee.invokeCommand(session, 1, [param]);
}

test("TEE-5.NULL_TEMP, MSG-5.NULL: NULL with a size is refused locally, without one it is NULL or a small buffer", () => {
  desk(function* body(made) {
    expect(yield* invokeNull(made, 5)).toEqual(BAD);
    expect(made.commands).toEqual([]);
    expect((yield* invokeNull(made, 0)).result).toBe(0);
    expect([made.commands, made.last]).toEqual([
      [MSG_CMD.INVOKE_COMMAND],
      [ATTR_TYPE.TMEM_INPUT, 0, 0],
    ]);
  });
  desk(function* body(made) {
    expect(yield* invokeNull(made, 5)).toEqual(BAD);
    expect((yield* invokeNull(made, 0)).result).toBe(0);
    expect(made.last[0]).toBe(ATTR_TYPE.RMEM_INPUT);
    expect(made.commands).toHaveLength(3);
  }, DYNAMIC_SHM | RPC_ARG);
});

test("MSG-5.MEMREF_WHOLE: all of a memory, in the direction of its flags", () => {
  desk(function* body({ tee, session, last }) {
    const kinds: number[][] = [];
    for (const flags of [1, 2, 3]) {
      const memory = yield* registered(tee, bytes(tee, 300), flags);
      yield* tee.invokeCommand(session, 1, [TeecParam.whole(memory)]);
      kinds.push([...last]);
    }
    const { RMEM_INPUT, RMEM_OUTPUT, RMEM_INOUT } = ATTR_TYPE;
    expect(kinds).toEqual([
      [RMEM_INPUT, 0, 300],
      [RMEM_OUTPUT, 0, 300],
      [RMEM_INOUT, 0, 300],
    ]);
    for (const flags of [0, 4]) {
      const refused = yield* tee.registerSharedMemory(bytes(tee, 1), flags);
      expect(refused.result).toBe(TEEC.TEEC_ERROR_BAD_PARAMETERS);
    }
  });
});

test("MSG-5.MEMREF_PARTIAL: offset and size in a memory; what it does not allow is refused locally", () => {
  desk(function* body({ tee, session, commands, last }) {
    const memory = yield* registered(tee, bytes(tee, 300), 1);
    const { MEMREF_PARTIAL_INPUT, MEMREF_PARTIAL_OUTPUT, MEMREF_PARTIAL_INOUT } = TEEC_PARAM;
    const invoke = (type: number, offset: number, size: number) =>
      tee.invokeCommand(session, 1, [TeecParam.partial(type, memory, offset, size)]);
    expect((yield* invoke(MEMREF_PARTIAL_INPUT, 100, 200)).result).toBe(0);
    expect(last).toEqual([ATTR_TYPE.RMEM_INPUT, 100, 200]);
    commands.length = 0;
    expect(yield* invoke(MEMREF_PARTIAL_INPUT, 100, 201)).toEqual(BAD);
    expect(yield* invoke(MEMREF_PARTIAL_OUTPUT, 0, 1)).toEqual(BAD);
    expect(yield* invoke(MEMREF_PARTIAL_INOUT, 0, 1)).toEqual(BAD);
    expect(yield* tee.invokeCommand(session, 1, [new TeecParam(8)])).toEqual(BAD);
    expect(commands).toEqual([]);
  });
});

test("TEE-5.REGISTER: memory is registered in place, or as a copy where the kernel refuses it", () => {
  desk(function* body({ tee, session, commands, bench }) {
    const buffer = bytes(tee, [1, 2, 3]);
    const direct = yield* registered(tee, buffer);
    expect([direct.shadow, direct.buffer]).toEqual([undefined, buffer]);
    expect(commands).toEqual([MSG_CMD.REGISTER_SHM]);
    const { kernel } = bench.linux;
    const device = tee.process.memory.mapDevice(3);
    if (device === undefined) throw new Error("no device");
    device.write(Uint8Array.of(7, 8, 9));
    const used = kernel.pages.usedPages;
    const copy = yield* registered(tee, device);
    expect(copy.shadow).toBeDefined();
    yield* tee.invokeCommand(session, 1, [TeecParam.whole(copy)]);
    expect([...(copy.shadow?.read(0, 3) ?? [])]).toEqual([7, 8, 9]);
    yield* tee.releaseSharedMemory(copy);
    expect(kernel.pages.usedPages).toBe(used);
    expect((yield* tee.registerSharedMemory(null, 3)).result).toBe(TEEC.TEEC_ERROR_BAD_PARAMETERS);
  });
  desk(function* body({ tee, commands, bench }) {
    const buffer = bytes(tee, [1, 2, 3]);
    const copy = yield* registered(tee, buffer);
    expect([copy.shadow === undefined, commands]).toEqual([false, []]);
    // The mapping alone keeps it.
    expect(copy.fd).toBe(-1);
    expect(bench.linux.devices.get("/dev/tee0")?.shmIds).toEqual([1]);
    yield* tee.releaseSharedMemory(copy);
    expect(bench.linux.devices.get("/dev/tee0")?.shmIds).toEqual([]);
  }, HAVE_RESERVED_SHM);
});

test("MSG-5.CANCEL_ID, TEE-3.4: cancellation is by session; the id is always 0", () => {
  desk(function* body({ bench, tee, session }) {
    const seen: number[][] = [];
    bench.world.onMessage = ({ message }) => {
      seen.push([message.cmd, message.session, message.cancelId]);
      return 0;
    };
    yield* tee.invokeCommand(session, 1);
    yield* tee.requestCancellation(session);
    expect(seen).toEqual([
      [MSG_CMD.INVOKE_COMMAND, session.id, 0],
      [MSG_CMD.CANCEL, session.id, 0],
    ]);
    expect(CANCEL_ARG.cancelId).toBe(0);
  });
});

/** A process that sees these devices under these names. */
function processWith(
  linux: Linux,
  devices: Readonly<Record<string, TeeDevice | undefined>>,
): Process {
  const present = Object.entries(devices).flatMap(([name, device]) =>
    device === undefined ? [] : [[name, device] as const],
  );
  return new Process({ name: "client", kernel: linux.kernel, devices: new Map(present) });
}

test("TEE-5.DEVICE_SEARCH: the first device that answers with the GP capability; only its own name asks for more", () => {
  const { linux, scheduler } = new Bench().probed();
  const tee0 = linux.devices.get("/dev/tee0");
  const search = (devices: Readonly<Record<string, TeeDevice | undefined>>, name?: string) =>
    scheduler.run("search", teecInitializeContext(processWith(linux, devices), name)).result;
  const { TEEC_ERROR_ITEM_NOT_FOUND, TEEC_SUCCESS } = TEEC;
  expect(search({ "/dev/tee0": tee0 })).toBe(TEEC_SUCCESS);
  expect(search({ "/dev/tee9": tee0 })).toBe(TEEC_SUCCESS);
  expect(search({ "/dev/tee10": tee0 })).toBe(TEEC_ERROR_ITEM_NOT_FOUND);
  expect(search({})).toBe(TEEC_ERROR_ITEM_NOT_FOUND);
  expect(search({ "/dev/tee0": tee0 }, "optee-tz")).toBe(TEEC_SUCCESS);
  expect(search({ "/dev/tee0": tee0 }, "other")).toBe(TEEC_ERROR_ITEM_NOT_FOUND);
  // A device without the capability is passed over, as an object-capability TEE is.
  if (tee0 === undefined) throw new Error("no device");
  const other = Object.defineProperty(new TeeDevice(tee0.driver, false), "genCaps", { value: 16 });
  const process = processWith(linux, { "/dev/tee0": other, "/dev/tee1": tee0 });
  const found = scheduler.run("search", teecInitializeContext(process));
  expect([found.result, found.context?.registersMemory]).toEqual([TEEC_SUCCESS, true]);
});

test("TEE-5.FINALIZE: finalizing closes the descriptor and nothing else", () => {
  desk(function* body({ tee, commands }) {
    const { memory } = yield* tee.allocateSharedMemory(100, 3);
    commands.length = 0;
    yield* tee.finalize();
    // The session lives on with the memory.
    expect(commands).toEqual([]);
    if (memory !== undefined) yield* tee.releaseSharedMemory(memory);
    expect(commands).toEqual([MSG_CMD.UNREGISTER_SHM, MSG_CMD.CLOSE_SESSION]);
  });
});
