import { expect, test } from "@jest/globals";
import type { Task } from "../machine/index.ts";
import { type Process, ProcessKilled, TEEC_PARAM, TeecParam } from "../normal-world/index.ts";
import { RPC_CMD, TEEC } from "../optee-abi/index.ts";
import { INVOKE_TESTS_UUID, OS_TEST_CMD, OS_TEST_UUID, CRYPT_UUID } from "../secure-world/index.ts";
import {
  BUF_DATA,
  ERRNO,
  INVOKE_ARG,
  OPEN_SESSION_ARG,
  Param,
  PARAM,
  PARAM_ATTR,
  SHM_ALLOC_DATA,
  SHM_REGISTER_DATA,
  SUPP_RECV_ARG,
  TEE_IOC,
  writeParam,
} from "../tee-uapi/index.ts";
import { uuidOctets } from "../base/index.ts";
import { createEmulated, EmulatedContext } from "./index.ts";

const make = (): EmulatedContext => new EmulatedContext(createEmulated({ conduit: "vm", seed: 3 }));

/** Runs a program of one process of a booted guest. */
function program<T>(body: (process: Process, context: EmulatedContext) => Task<T>): T {
  const context = make();
  const process = context.guest().linux.process("test");
  return context.execute(body(process, context));
}

function variable(
  process: Process,
  fd: number,
  request: number,
  buffer: Uint8Array,
  length = buffer.length,
): Task<number> {
  const payload = new Uint8Array(BUF_DATA.size);
  new DataView(payload.buffer).setUint32(BUF_DATA.bufLen, length, true);
  return process.ioctl(fd, request, payload, buffer);
}

/** An OPEN_SESSION buffer for the test pseudo-TA with these parameters. */
function openBuffer(params: readonly Param[] = [], uuid = INVOKE_TESTS_UUID): Uint8Array {
  const A = OPEN_SESSION_ARG;
  const buffer = new Uint8Array(A.size + params.length * PARAM.size);
  const view = new DataView(buffer.buffer);
  buffer.set(uuidOctets(uuid), A.uuid);
  view.setUint32(A.numParams, params.length, true);
  for (const [index, param] of params.entries()) {
    writeParam(view, A.size + index * PARAM.size, param);
  }
  return buffer;
}

const memref = (offset: number, size: number, id: number): Param =>
  new Param().set(PARAM_ATTR.MEMREF_INPUT, offset, size, id);

function* alloc(process: Process, fd: number, size: number): Task<{ fd: number; id: number }> {
  const payload = new Uint8Array(SHM_ALLOC_DATA.size);
  const view = new DataView(payload.buffer);
  view.setUint32(SHM_ALLOC_DATA.length, size, true);
  const shm = yield* process.ioctl(fd, TEE_IOC.SHM_ALLOC, payload);
  return { fd: shm, id: view.getInt32(SHM_ALLOC_DATA.id, true) };
}

test("TEE-2.1.1: buf_len equals the structure with its parameters, and is at most 4096", () => {
  program(function* (process) {
    const fd = yield* process.open("/dev/tee0");
    const good = openBuffer([new Param()]);
    expect(yield* variable(process, fd, TEE_IOC.OPEN_SESSION, good)).toBe(0);
    for (const length of [good.length - 1, good.length + 1, 0]) {
      expect(yield* variable(process, fd, TEE_IOC.OPEN_SESSION, good, length)).toBe(-ERRNO.EINVAL);
    }
    const short = good.subarray(0, good.length - 8);
    expect(yield* variable(process, fd, TEE_IOC.OPEN_SESSION, short)).toBe(-ERRNO.EINVAL);
    const huge = openBuffer(Array.from({ length: 127 }, () => new Param()));
    expect(yield* variable(process, fd, TEE_IOC.OPEN_SESSION, huge)).toBe(-ERRNO.EINVAL);
  });
});

test("TEE-2.1.3: what a device does not do is EINVAL", () => {
  const context = make();
  const { linux } = context.guest();
  const { supplicant } = linux;
  context.execute(
    (function* (): Task {
      const process = linux.process();
      const fd = yield* process.open("/dev/tee0");
      const buffer = new Uint8Array(SUPP_RECV_ARG.size + PARAM.size);
      for (const request of [TEE_IOC.SUPPL_RECV, TEE_IOC.SUPPL_SEND, TEE_IOC.OBJECT_INVOKE]) {
        expect(yield* variable(process, fd, request, buffer)).toBe(-ERRNO.EINVAL);
      }
      expect(yield* process.ioctl(fd, 0x1234, buffer)).toBe(-ERRNO.EINVAL);
      expect(yield* process.ioctl(99, TEE_IOC.VERSION, buffer)).toBe(-ERRNO.EBADF);
      const privileged = supplicant?.process;
      if (privileged === undefined) throw new Error("no supplicant");
      const opened = yield* variable(privileged, 3, TEE_IOC.OPEN_SESSION, openBuffer());
      expect(opened).toBe(-ERRNO.EINVAL);
    })(),
  );
});

test("TEE-2.2.ATTR_BITS, TEE-2.2.CHECKS: wrong attributes, foreign and unknown memory and overlong references are EINVAL", () => {
  program(function* (process, context) {
    const fd = yield* process.open("/dev/tee0");
    const other = yield* process.open("/dev/tee0");
    const own = yield* alloc(process, fd, 4096);
    const foreign = yield* alloc(process, other, 4096);
    const status = function* (param: Param): Task<number> {
      return yield* variable(process, fd, TEE_IOC.OPEN_SESSION, openBuffer([param]));
    };
    expect(yield* status(memref(0, 4096, own.id))).toBe(0);
    expect(yield* status(memref(4096, 0, own.id))).toBe(0);
    for (const bad of [
      memref(1, 4096, own.id),
      memref(2 ** 52, 1, own.id),
      memref(0, 1, foreign.id),
      memref(0, 1, 77),
      new Param().set(0x200, 0, 0, 0),
      new Param().set(PARAM_ATTR.UBUF_INPUT, 0, 0, 0),
      new Param().set(PARAM_ATTR.OBJREF_INPUT, 0, 0, 0),
    ]) {
      expect(yield* status(bad)).toBe(-ERRNO.EINVAL);
    }
    // Nothing of the refused calls is left: both objects go with their descriptors.
    yield* process.close(own.fd);
    yield* process.close(foreign.fd);
    expect(context.guest().linux.devices.get("/dev/tee0")?.shmIds).toEqual([]);
  });
});

test("TEE-3.3.1: ids start at 1, are global to the device, and are used again", () => {
  program(function* (process) {
    const fd = yield* process.open("/dev/tee0");
    const other = yield* process.open("/dev/tee0");
    const ids = [yield* alloc(process, fd, 1), yield* alloc(process, other, 1)];
    expect(ids.map(({ id }) => id)).toEqual([1, 2]);
    yield* process.close(ids[0]?.fd ?? -1);
    expect((yield* alloc(process, fd, 1)).id).toBe(1);
  });
});

test("TEE-3.3.5: sizes are rounded up to pages, and 0 or flags are EINVAL", () => {
  program(function* (process) {
    const fd = yield* process.open("/dev/tee0");
    const payload = new Uint8Array(SHM_ALLOC_DATA.size);
    const view = new DataView(payload.buffer);
    expect(yield* process.ioctl(fd, TEE_IOC.SHM_ALLOC, payload)).toBe(-ERRNO.EINVAL);
    view.setUint32(SHM_ALLOC_DATA.length, 5000, true);
    expect(yield* process.ioctl(fd, TEE_IOC.SHM_ALLOC, payload)).toBeGreaterThan(2);
    expect(view.getUint32(SHM_ALLOC_DATA.length, true)).toBe(8192);
    view.setUint32(SHM_ALLOC_DATA.flags, 1, true);
    expect(yield* process.ioctl(fd, TEE_IOC.SHM_ALLOC, payload)).toBe(-ERRNO.EINVAL);
  });
});

test("TEE-3.3.3: registered memory keeps its offset and length, and cannot be mapped", () => {
  program(function* (process) {
    const fd = yield* process.open("/dev/tee0");
    const buffer = process.memory.allocate(5000, 100);
    const payload = new Uint8Array(SHM_REGISTER_DATA.size);
    const view = new DataView(payload.buffer);
    view.setBigUint64(SHM_REGISTER_DATA.addr, BigInt(buffer?.address ?? 0), true);
    view.setUint32(SHM_REGISTER_DATA.length, 5000, true);
    const shm = yield* process.ioctl(fd, TEE_IOC.SHM_REGISTER, payload);
    expect(shm).toBeGreaterThan(2);
    expect(view.getUint32(SHM_REGISTER_DATA.length, true)).toBe(5000);
    expect(process.mmap(shm)).toBeUndefined();
    view.setBigUint64(SHM_REGISTER_DATA.addr, 0x1000n, true);
    expect(yield* process.ioctl(fd, TEE_IOC.SHM_REGISTER, payload)).toBe(-ERRNO.EFAULT);
  });
});

test("TEE-3.3.2: memory whose descriptor is closed during a call stays until the call returns", () => {
  const context = make();
  const tee = context.client();
  context.execute(
    (function* (): Task {
      const { session } = yield* tee.openSession(OS_TEST_UUID);
      const { memory } = yield* tee.allocateSharedMemory(4096, 3);
      if (session === undefined || memory === undefined) throw new Error("no session");
      const wait = context.scheduler.spawn(
        "waiter",
        tee.invokeCommand(session, OS_TEST_CMD.WAIT, [
          TeecParam.value(TEEC_PARAM.VALUE_INPUT, 50),
          TeecParam.whole(memory),
        ]),
      );
      yield null;
      const ids = (): readonly number[] =>
        tee.process.file(tee.fd)?.kind === "tee"
          ? (context.guest().linux.devices.get("/dev/tee0")?.shmIds ?? [])
          : [];
      while (context.guest().linux.driver?.callsRunning === 0) yield null;
      yield* tee.process.close(memory.fd);
      const during = wait.finished ? [] : ids();
      yield* wait.join();
      expect(during).toHaveLength(1);
      expect(ids()).toEqual([]);
    })(),
  );
});

test("TEE-3.2: closing a session twice is EINVAL", () => {
  const context = make();
  const tee = context.client();
  context.execute(
    (function* (): Task {
      const { session } = yield* tee.openSession(INVOKE_TESTS_UUID);
      const payload = new Uint8Array(4);
      new DataView(payload.buffer).setUint32(0, session?.id ?? 0, true);
      const close = (): Task<number> => tee.process.ioctl(tee.fd, TEE_IOC.CLOSE_SESSION, payload);
      expect([yield* close(), yield* close()]).toEqual([0, -ERRNO.EINVAL]);
      const invoke = new Uint8Array(INVOKE_ARG.size);
      new DataView(invoke.buffer).setUint32(INVOKE_ARG.session, session?.id ?? 0, true);
      expect(yield* variable(tee.process, tee.fd, TEE_IOC.INVOKE, invoke)).toBe(-ERRNO.EINVAL);
    })(),
  );
});

test("TEE-4.1: the privileged device has one owner, and is free again after it", () => {
  const context = make();
  const { linux } = context.guest();
  context.execute(
    (function* (): Task {
      const process = linux.process();
      expect(yield* process.open("/dev/teepriv0")).toBe(-ERRNO.EBUSY);
      const owner = linux.supplicant?.process;
      yield* owner?.exit() ?? process.exit();
      expect(yield* process.open("/dev/teepriv0")).toBeGreaterThan(2);
    })(),
  );
});

test("TEE-4.2: receiving needs empty slots, and a request with too many parameters stays queued", () => {
  const context = make();
  const { linux } = context.guest();
  const tee = context.client();
  context.execute(
    (function* (): Task {
      yield* linux.supplicant?.process.exit() ?? tee.finalize();
      const process = linux.process();
      const fd = yield* process.open("/dev/teepriv0");
      const loading = context.scheduler.spawn("client", tee.openSession(CRYPT_UUID));
      yield null;
      const receive = (slots: number, attr: number): [Uint8Array, Task<number>] => {
        const buffer = new Uint8Array(SUPP_RECV_ARG.size + slots * PARAM.size);
        const view = new DataView(buffer.buffer);
        view.setUint32(SUPP_RECV_ARG.numParams, slots, true);
        if (slots > 0) view.setUint32(SUPP_RECV_ARG.size, attr, true);
        return [buffer, variable(process, fd, TEE_IOC.SUPPL_RECV, buffer)];
      };
      expect(yield* receive(0, 0)[1]).toBe(-ERRNO.EINVAL);
      expect(yield* receive(3, 1)[1]).toBe(-ERRNO.EINVAL);
      // The first request asks for memory: one parameter, which with META needs two slots.
      expect(yield* receive(1, 0x100)[1]).toBe(-ERRNO.EINVAL);
      const [buffer, received] = receive(5, 0x100);
      expect(yield* received).toBe(0);
      const view = new DataView(buffer.buffer);
      expect(view.getUint32(SUPP_RECV_ARG.func, true)).toBe(RPC_CMD.SHM_ALLOC);
      expect(view.getUint32(SUPP_RECV_ARG.numParams, true)).toBe(2);
      expect(view.getUint32(SUPP_RECV_ARG.size, true)).toBe(0x103);
      expect(view.getUint32(SUPP_RECV_ARG.size + PARAM.a, true)).toBe(1);
      // TEE-4.5: an unknown id is ENOENT, a wrong count EINVAL, and the request stays.
      const send = (count: number, id: number): Task<number> => {
        const answer = buffer.slice(0, SUPP_RECV_ARG.size + count * PARAM.size);
        const out = new DataView(answer.buffer);
        out.setUint32(0, TEEC.TEEC_ERROR_OUT_OF_MEMORY, true);
        out.setUint32(SUPP_RECV_ARG.numParams, count, true);
        out.setUint32(SUPP_RECV_ARG.size + PARAM.a, id, true);
        return variable(process, fd, TEE_IOC.SUPPL_SEND, answer);
      };
      expect(yield* send(2, 9)).toBe(-ERRNO.ENOENT);
      expect(yield* send(1, 1)).toBe(-ERRNO.EINVAL);
      expect(yield* send(2, 1)).toBe(0);
      // Without memory to name files in, the TEE looks for the TA nowhere else.
      expect((yield* loading.join()).result).toBe(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
      expect(linux.driver?.supplicant.outstanding).toBe(0);
    })(),
  );
});

test("TEE-4.7: a request whose requester was killed keeps its id until the answer, which is EBADF", () => {
  const context = make();
  const { linux } = context.guest();
  const tee = context.client();
  context.execute(
    (function* (): Task {
      yield* linux.supplicant?.process.exit() ?? tee.finalize();
      const process = linux.process();
      const fd = yield* process.open("/dev/teepriv0");
      const loading = context.scheduler.spawn("client", tee.openSession(CRYPT_UUID));
      yield null;
      const buffer = new Uint8Array(SUPP_RECV_ARG.size + 5 * PARAM.size);
      const view = new DataView(buffer.buffer);
      view.setUint32(SUPP_RECV_ARG.numParams, 5, true);
      view.setUint32(SUPP_RECV_ARG.size, 0x100, true);
      expect(yield* variable(process, fd, TEE_IOC.SUPPL_RECV, buffer)).toBe(0);
      yield* tee.process.exit();
      expect(() => loading.result()).toThrow(ProcessKilled);
      const answer = buffer.slice(0, SUPP_RECV_ARG.size + 2 * PARAM.size);
      new DataView(answer.buffer).setUint32(SUPP_RECV_ARG.numParams, 2, true);
      expect(yield* variable(process, fd, TEE_IOC.SUPPL_SEND, answer)).toBe(-ERRNO.EBADF);
      expect(yield* variable(process, fd, TEE_IOC.SUPPL_SEND, answer)).toBe(-ERRNO.ENOENT);
    })(),
  );
});

/** A SUPPL_RECV buffer of four empty slots: synchronous mode. */
function empty(): Uint8Array {
  const buffer = new Uint8Array(SUPP_RECV_ARG.size + 4 * PARAM.size);
  new DataView(buffer.buffer).setUint32(SUPP_RECV_ARG.numParams, 4, true);
  return buffer;
}

test("TEE-4.3: in synchronous mode a second receive before the answer is EINVAL", () => {
  const context = make();
  const { linux } = context.guest();
  const tee = context.client();
  context.execute(
    (function* (): Task {
      yield* linux.supplicant?.process.exit() ?? tee.finalize();
      const process = linux.process();
      const fd = yield* process.open("/dev/teepriv0");
      const loading = context.scheduler.spawn("client", tee.openSession(CRYPT_UUID));
      yield null;
      const first = empty();
      expect(yield* variable(process, fd, TEE_IOC.SUPPL_RECV, first)).toBe(0);
      expect(new DataView(first.buffer).getUint32(SUPP_RECV_ARG.numParams, true)).toBe(1);
      expect(yield* variable(process, fd, TEE_IOC.SUPPL_RECV, empty())).toBe(-ERRNO.EINVAL);
      const answer = first.slice(0, SUPP_RECV_ARG.size + PARAM.size);
      new DataView(answer.buffer).setUint32(0, TEEC.TEEC_ERROR_OUT_OF_MEMORY, true);
      expect(yield* variable(process, fd, TEE_IOC.SUPPL_SEND, answer)).toBe(0);
      yield* loading.join();
      const again = context.scheduler.spawn("client again", tee.openSession(CRYPT_UUID));
      yield null;
      expect(yield* variable(process, fd, TEE_IOC.SUPPL_RECV, empty())).toBe(0);
      // It was asked for memory, and nobody answers any more.
      yield* process.exit();
      const { result, origin } = yield* again.join();
      expect({ result, origin }).toEqual({ result: TEEC.TEEC_ERROR_OUT_OF_MEMORY, origin: 3 });
      yield* tee.process.exit();
    })(),
  );
});

test("SMC-8.2: a machine whose secure world holds two guests has no third", () => {
  const context = make();
  context.guest(1);
  expect(() => context.guest(2)).toThrow(/no room/);
});
