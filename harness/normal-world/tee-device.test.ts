import { expect, test } from "@jest/globals";
import { type Ipa, PAGE_SIZE, type Task } from "../machine/index.ts";
import {
  ATTR_TYPE,
  MSG_CMD,
  OPTEE_SMC,
  SEC_CAP,
  SMC_RETURN,
  TEEC,
  WORD,
} from "../optee-abi/index.ts";
import {
  ERRNO,
  INVOKE_ARG,
  OPEN_SESSION_ARG,
  Param,
  PARAM,
  PARAM_ATTR,
  readParam,
  TEE_GEN_CAP,
  TEE_IOC,
  VERSION_DATA,
} from "../tee-uapi/index.ts";
import type { Process } from "./process.ts";
import { Bench, type BootOptions } from "./testkit/boot.ts";
import { alloc, invokeArg, openArg, register, variable } from "./testkit/client.ts";
import { type Script } from "./testkit/scripted-world.ts";

const { EBADF, EFAULT, EINVAL, EPERM } = ERRNO;
const { DYNAMIC_SHM, HAVE_RESERVED_SHM, MEMREF_NULL, PROTMEM, RPC_ARG } = SEC_CAP;
const OLD_TEE = { capabilities: DYNAMIC_SHM | RPC_ARG };

interface Desk {
  readonly bench: Bench;
  readonly process: Process;
  readonly fd: number;
  /** Messages that the driver sent, by command. */
  readonly commands: number[];
}

/** A process with /dev/tee0 open on a driver that was just probed. */
function desk(body: (desk: Desk) => Task, options: BootOptions = {}): void {
  const bench = new Bench(options).probed();
  const process = bench.linux.process("client");
  const commands: number[] = [];
  bench.world.onMessage = ({ message }): undefined => {
    commands.push(message.cmd);
  };
  bench.run(
    (function* (): Task {
      const fd = yield* process.open("/dev/tee0");
      yield* body({ bench, process, fd, commands });
    })(),
  );
}

const memref = (attr: number, at: number, size: number, id: number): Param =>
  new Param().set(attr, at, size, id);

test("TEE-1.1, TEE-1.3, TEE-2.VERSION: OP-TEE has one device for clients and one for the supplicant", () => {
  desk(function* body({ bench, process }) {
    expect([...bench.linux.devices.keys()]).toEqual(["/dev/tee0", "/dev/teepriv0"]);
    for (const path of bench.linux.devices.keys()) {
      const fd = yield* process.open(path);
      const version = new Uint8Array(VERSION_DATA.size);
      expect(yield* process.ioctl(fd, TEE_IOC.VERSION, version)).toBe(0);
      const view = new DataView(version.buffer);
      expect(view.getUint32(VERSION_DATA.implId, true)).toBe(1);
      expect(view.getUint32(VERSION_DATA.implCaps, true)).toBe(1);
    }
    expect(yield* process.open("/dev/tee1")).toBe(-ERRNO.ENOENT);
  });
});

/** gen_caps of both devices. */
function caps(capabilities: number): number[] {
  const { linux } = new Bench({ capabilities }).probed();
  return [...linux.devices.values()].map(({ genCaps }) => genCaps);
}

test("TEE-1.4, TEE-1.GP, TEE-1.PRIVILEGED, TEE-1.REG_MEM, TEE-1.MEMREF_NULL: capabilities follow those of the secure world", () => {
  const { GP, PRIVILEGED, REG_MEM } = TEE_GEN_CAP;
  expect(caps(HAVE_RESERVED_SHM)).toEqual([GP, GP | PRIVILEGED]);
  expect(caps(DYNAMIC_SHM)).toEqual([GP | REG_MEM, GP | PRIVILEGED | REG_MEM]);
  const null8 = TEE_GEN_CAP.MEMREF_NULL;
  expect(caps(HAVE_RESERVED_SHM | MEMREF_NULL)).toEqual([GP | null8, GP | PRIVILEGED | null8]);
});

test("TEE-1.2: every open is a context; ids of one are nothing to another", () => {
  desk(function* body({ process, fd }) {
    const other = yield* process.open("/dev/tee0");
    const { id } = yield* alloc(process, fd, 4096);
    const arg = openArg([memref(PARAM_ATTR.MEMREF_INPUT, 0, 1, id)]);
    expect(yield* variable(process, other, TEE_IOC.OPEN_SESSION, arg)).toBe(-EINVAL);
    expect(yield* variable(process, fd, TEE_IOC.OPEN_SESSION, arg)).toBe(0);
    const invoke = invokeArg(1);
    expect(yield* variable(process, other, TEE_IOC.INVOKE, invoke)).toBe(-EINVAL);
    expect(yield* variable(process, fd, TEE_IOC.INVOKE, invoke)).toBe(0);
  });
});

const params = (count: number): Uint8Array =>
  openArg(Array.from({ length: count }, () => new Param()));

test("TEE-2.1.1: the length is that of the structure with its parameters, and at most 4096", () => {
  desk(function* body({ process, fd }) {
    const arg = openArg([new Param()]);
    const open = (buffer: Uint8Array, length = buffer.length): Task<number> =>
      variable(process, fd, TEE_IOC.OPEN_SESSION, buffer, { length });
    expect(yield* open(arg)).toBe(0);
    for (const off of [-1, 1]) expect(yield* open(arg, arg.length + off)).toBe(-EINVAL);
    expect(yield* open(arg.subarray(0, 60))).toBe(-EINVAL);
    // 126 parameters fit into the length; the driver has room for 4 beside the meta ones.
    expect(params(126).length).toBeLessThanOrEqual(4096);
    for (const count of [5, 126, 127]) expect(yield* open(params(count))).toBe(-EINVAL);
    const invoke = (count: number): Task<number> => {
      const buffer = invokeArg(
        1,
        Array.from({ length: count }, () => new Param()),
      );
      return variable(process, fd, TEE_IOC.INVOKE, buffer);
    };
    expect([yield* invoke(6), yield* invoke(7)]).toEqual([0, -EINVAL]);
  });
});

const results = (buffer: Uint8Array, at: { ret: number; retOrigin: number }): number[] => {
  const view = new DataView(buffer.buffer);
  return [view.getUint32(at.ret, true), view.getUint32(at.retOrigin, true)];
};

test("TEE-2.1.2: what the TEE says is in ret and ret_origin, while the ioctl succeeds", () => {
  desk(function* body({ bench, process, fd }) {
    bench.world.onMessage = ({ message }) => {
      message.ret = TEEC.TEEC_ERROR_ACCESS_DENIED;
      message.retOrigin = 4;
      return 0;
    };
    const arg = openArg();
    expect(yield* variable(process, fd, TEE_IOC.OPEN_SESSION, arg)).toBe(0);
    expect(results(arg, OPEN_SESSION_ARG)).toEqual([TEEC.TEEC_ERROR_ACCESS_DENIED, 4]);
    // A session that was not opened cannot be used.
    expect(yield* variable(process, fd, TEE_IOC.INVOKE, invokeArg(0))).toBe(-EINVAL);
    bench.world.onMessage = undefined;
    yield* variable(process, fd, TEE_IOC.OPEN_SESSION, arg);
    bench.world.onMessage = () => SMC_RETURN.EBADCMD;
    const invoke = invokeArg(1);
    expect(yield* variable(process, fd, TEE_IOC.INVOKE, invoke)).toBe(0);
    expect(results(invoke, INVOKE_ARG)).toEqual([TEEC.TEEC_ERROR_COMMUNICATION, 2]);
  });
});

test("TEE-2.1.3: what a device does not offer is EINVAL, another file ENOTTY", () => {
  desk(function* body({ process, fd }) {
    const buffer = new Uint8Array(4096);
    const { SUPPL_RECV, SUPPL_SEND, OPEN_SESSION, INVOKE, CANCEL, CLOSE_SESSION } = TEE_IOC;
    for (const request of [SUPPL_RECV, SUPPL_SEND, TEE_IOC.OBJECT_INVOKE, 0x1234]) {
      expect(yield* process.ioctl(fd, request, buffer)).toBe(-EINVAL);
    }
    const priv = yield* process.open("/dev/teepriv0");
    for (const request of [OPEN_SESSION, INVOKE, CANCEL, CLOSE_SESSION]) {
      expect(yield* process.ioctl(priv, request, buffer)).toBe(-EINVAL);
    }
    const shm = yield* alloc(process, fd, 1);
    expect(yield* process.ioctl(shm.fd, TEE_IOC.VERSION, buffer)).toBe(-ERRNO.ENOTTY);
    expect(yield* process.ioctl(99, TEE_IOC.VERSION, buffer)).toBe(-EBADF);
    expect(yield* process.ioctl(fd, TEE_IOC.VERSION, new Uint8Array(11))).toBe(-EFAULT);
  });
});

test("TEE-2.1.4: a session whose id cannot be told is closed again", () => {
  desk(function* body({ process, fd, commands }) {
    const { id } = yield* alloc(process, fd, 4096);
    commands.length = 0;
    const arg = openArg([memref(PARAM_ATTR.MEMREF_INPUT, 0, 1, id)]);
    const readOnly = { writable: false };
    expect(yield* variable(process, fd, TEE_IOC.OPEN_SESSION, arg, readOnly)).toBe(-EFAULT);
    expect(commands).toEqual([MSG_CMD.OPEN_SESSION, MSG_CMD.CLOSE_SESSION]);
    expect(yield* variable(process, fd, TEE_IOC.INVOKE, invokeArg(1))).toBe(-EINVAL);
    yield* variable(process, fd, TEE_IOC.OPEN_SESSION, openArg());
    expect(yield* variable(process, fd, TEE_IOC.INVOKE, invokeArg(1), readOnly)).toBe(-EFAULT);
  });
});

test("TEE-2.2.CHECKS, TEE-2.2.ATTR_BITS: ranges, owners and attributes of parameters are checked before anything is sent", () => {
  desk(function* body({ bench, process, fd, commands }) {
    const { id } = yield* alloc(process, fd, 4096);
    const { MEMREF_INPUT, UBUF_INPUT, OBJREF_INPUT } = PARAM_ATTR;
    const status = (param: Param): Task<number> =>
      variable(process, fd, TEE_IOC.OPEN_SESSION, openArg([param]));
    expect(yield* status(memref(MEMREF_INPUT, 0, 4096, id))).toBe(0);
    expect(yield* status(memref(MEMREF_INPUT, 4096, 0, id))).toBe(0);
    const before = commands.length;
    const wraps = memref(MEMREF_INPUT, 1, 0, id);
    [wraps.bHigh, wraps.b] = [0xffff_ffff, 0xffff_ffff];
    const bad = [
      memref(MEMREF_INPUT, 1, 4096, id),
      memref(MEMREF_INPUT, 4097, 0, id),
      wraps,
      memref(MEMREF_INPUT, 0, 1, id + 1),
      memref(0x200, 0, 0, 0),
      memref(4, 0, 0, 0),
      memref(OBJREF_INPUT, 0, 0, 0),
      memref(UBUF_INPUT, 0x1000, 16, 0),
    ];
    for (const param of bad) expect(yield* status(param)).toBe(-EINVAL);
    expect(yield* status(memref(UBUF_INPUT, 2 ** 48, 1, 0))).toBe(-EFAULT);
    expect(yield* status(new Param().setNullMemref(MEMREF_INPUT))).toBe(-EINVAL);
    expect(commands).toHaveLength(before);
    // No reference of the refused calls is left.
    yield* process.exit();
    expect(bench.linux.devices.get("/dev/tee0")?.shmIds).toEqual([]);
  }, OLD_TEE);
});

test("TEE-2.2.CHECKS, MSG-6.MEMREF_NULL: NULL references need a secure world that knows them", () => {
  const nothing = openArg([new Param().setNullMemref(PARAM_ATTR.MEMREF_INOUT)]);
  const status: number[] = [];
  for (const capabilities of [DYNAMIC_SHM, DYNAMIC_SHM | MEMREF_NULL]) {
    desk(
      function* body({ process, fd }) {
        status.push(yield* variable(process, fd, TEE_IOC.OPEN_SESSION, nothing.slice()));
      },
      { capabilities },
    );
  }
  expect(status).toEqual([-EINVAL, 0]);
});

/** What a client has in its parameters after a secure world that changed every word. */
function writtenBack(ret: number): number[][] {
  const seen: number[][] = [];
  desk(function* body({ bench, process, fd }) {
    const { id } = yield* alloc(process, fd, 4096);
    yield* variable(process, fd, TEE_IOC.OPEN_SESSION, openArg());
    bench.world.onMessage = ({ message }) => {
      for (let index = 0; index < message.numParams; index += 1) {
        for (const word of [WORD.a, WORD.b, WORD.c]) message.setNumber(index, word, 70 + word);
      }
      message.ret = ret;
      return 0;
    };
    const kinds = [1, 2, 3, 5, 6, 7];
    const arg = invokeArg(
      1,
      kinds.map((attr) => memref(attr, 1, 2, attr < 4 ? 3 : id)),
    );
    yield* variable(process, fd, TEE_IOC.INVOKE, arg);
    for (const index of kinds.keys()) {
      const param = readParam(new DataView(arg.buffer), INVOKE_ARG.size + index * PARAM.size);
      seen.push([param.a, param.b, param.c === id && index > 2 ? -1 : param.c]);
    }
  });
  return seen;
}

test("TEE-2.2.WRITE_BACK, TEE-2.2.VALUE, TEE-2.2.MEMREF: values and sizes of outputs come back, nothing else", () => {
  const untouched = [1, 2, -1];
  expect(writtenBack(TEEC.TEEC_SUCCESS)).toEqual([
    [1, 2, 3],
    [71, 72, 73],
    [71, 72, 73],
    untouched,
    [1, 72, -1],
    [1, 72, -1],
  ]);
  // A refusal of the TA is no failure of the call: SHORT_BUFFER has to say how much is needed.
  expect(writtenBack(TEEC.TEEC_ERROR_SHORT_BUFFER)[4]).toEqual([1, 72, -1]);
});

test("TEE-2.3.REE_KERNEL, TEE-2.3.APPLICATION, TEE-2.3.PUBLIC: logins are checked before a message is sent", () => {
  desk(function* body({ process, fd, commands }) {
    const status = (login: number): Task<number> =>
      variable(process, fd, TEE_IOC.OPEN_SESSION, openArg([], login));
    expect([yield* status(0x8000_0000), yield* status(0xbfff_ffff)]).toEqual([-EPERM, -EPERM]);
    for (const login of [4, 5, 6, 0xc000_0000]) expect(yield* status(login)).toBe(-EINVAL);
    expect(commands).toEqual([]);
    expect(yield* status(0)).toBe(0);
  });
});

test("TEE-3.1.1, TEE-3.1.2, TEE-3.1.4: sessions are closed when the last of descriptor and memory goes", () => {
  desk(function* body({ process, fd, commands, bench }) {
    const { fd: memory } = yield* alloc(process, fd, 4096);
    const mapped = process.mmap(memory);
    const copy = process.dup(fd);
    bench.world.onMessage = ({ message }) => {
      commands.push(message.cmd);
      message.session = commands.length;
      // Refusing to close changes nothing.
      message.ret = message.cmd === MSG_CMD.CLOSE_SESSION ? TEEC.TEEC_ERROR_GENERIC : 0;
      return 0;
    };
    yield* variable(process, fd, TEE_IOC.OPEN_SESSION, openArg());
    yield* variable(process, fd, TEE_IOC.OPEN_SESSION, openArg());
    commands.length = 0;
    for (const one of [fd, copy, memory]) yield* process.close(one);
    expect(commands).toEqual([]);
    if (mapped !== undefined) yield* process.munmap(mapped);
    expect(commands).toEqual([
      MSG_CMD.UNREGISTER_SHM,
      MSG_CMD.CLOSE_SESSION,
      MSG_CMD.CLOSE_SESSION,
    ]);
    expect(bench.linux.devices.get("/dev/tee0")?.contexts).toBe(0);
  });
});

test("TEE-3.2: several threads invoke in one session at the same time", () => {
  desk(function* body({ bench, process, fd }) {
    yield* variable(process, fd, TEE_IOC.OPEN_SESSION, openArg());
    let most = 0;
    bench.world.onMessage = () => {
      most = Math.max(most, bench.world.suspended + 1);
      return slow();
    };
    const calls = [1, 2, 3].map((thread) =>
      bench.scheduler.spawn(
        `thread ${thread}`,
        variable(process, fd, TEE_IOC.INVOKE, invokeArg(1)),
      ),
    );
    for (const call of calls) expect(yield* call.join()).toBe(0);
    expect(most).toBe(3);
  });
});

function* slow(): Script {
  for (let turn = 0; turn < 20; turn += 1) yield [SMC_RETURN.RPC_FOREIGN_INTR, 0, 0];
  return 0;
}

test("TEE-3.4, TEE-2.CANCEL: a cancellation carries both ids and succeeds whatever comes of it", () => {
  desk(function* body({ bench, process, fd }) {
    const cancel = new Uint8Array(8);
    const view = new DataView(cancel.buffer);
    view.setUint32(0, 77, true);
    view.setUint32(4, 1, true);
    expect(yield* process.ioctl(fd, TEE_IOC.CANCEL, cancel)).toBe(-EINVAL);
    yield* variable(process, fd, TEE_IOC.OPEN_SESSION, openArg());
    const seen: number[][] = [];
    bench.world.onMessage = ({ message }) => {
      seen.push([message.cmd, message.session, message.cancelId]);
      message.ret = TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
      return 0;
    };
    expect(yield* process.ioctl(fd, TEE_IOC.CANCEL, cancel)).toBe(0);
    expect(seen).toEqual([[MSG_CMD.CANCEL, 1, 77]]);
  });
});

test("TEE-3.3.SHM_ALLOC, TEE-3.3.5, TEE-2.SHM_ALLOC: pool memory is whole pages, registered in one call, and can be mapped", () => {
  desk(function* body({ bench, process, fd, commands }) {
    const made = yield* alloc(process, fd, 5000);
    expect([made.id, made.size]).toEqual([1, 8192]);
    expect(commands).toEqual([MSG_CMD.REGISTER_SHM]);
    const mapped = process.mmap(made.fd);
    mapped?.write(Uint8Array.of(7), 8191);
    const pages = [...bench.world.registered.values()].find((list) => list.length === 2);
    expect(bench.world.memory.read(((pages?.[1] ?? 0) + 4095) as Ipa, 1)[0]).toBe(7);
    for (const [size, flags] of [
      [0, 0],
      [1, 1],
    ] as const) {
      expect((yield* alloc(process, fd, size, flags)).fd).toBe(-EINVAL);
    }
  });
});

test("TEE-3.3.SHM_REGISTER, TEE-3.3.3, TEE-2.SHM_REGISTER: the caller's pages are pinned with offset and length, and cannot be mapped", () => {
  desk(function* body({ bench, process, fd, commands }) {
    const { kernel } = bench.linux;
    const buffer = process.memory.allocate(5000, 100);
    if (buffer === undefined) throw new Error("no memory");
    const seen: number[] = [];
    bench.world.onMessage = ({ message }): undefined => {
      commands.push(message.cmd);
      if (message.cmd !== MSG_CMD.REGISTER_SHM) return;
      seen.push(message.number(0, WORD.buf_ptr) % PAGE_SIZE, message.number(0, WORD.size));
    };
    const made = yield* register(process, fd, buffer.address, 5000);
    expect([made.id, made.size, ...seen]).toEqual([1, 5000, 100, 5000]);
    expect(process.mmap(made.fd)).toBeUndefined();
    // Unmapping takes nothing from the secure world.
    const used = kernel.pages.usedPages;
    process.memory.unmap(buffer);
    expect(kernel.pages.usedPages).toBe(used);
    yield* process.close(made.fd);
    expect(kernel.pages.usedPages).toBe(used - 2);
    expect(commands).toEqual([MSG_CMD.REGISTER_SHM, MSG_CMD.UNREGISTER_SHM]);
  });
});

test("TEE-3.3.3: device memory, flags, nothing and memory that is not there cannot be registered", () => {
  desk(function* body({ process, fd }) {
    const registers = process.memory.mapDevice(PAGE_SIZE);
    const normal = process.memory.allocate(PAGE_SIZE);
    const status = function* (address = 0, size = 1, flags = 0): Task<number> {
      return (yield* register(process, fd, address, size, { flags })).fd;
    };
    expect(yield* status(registers?.address)).toBe(-EINVAL);
    expect(yield* status(normal?.address, 1, 1)).toBe(-EINVAL);
    expect(yield* status(normal?.address, 0)).toBe(-EINVAL);
    expect(yield* status(0x1000)).toBe(-EFAULT);
    expect(yield* status(normal?.address, PAGE_SIZE + 1)).toBe(-EFAULT);
    expect(yield* status(normal?.address)).toBeGreaterThan(2);
  });
});

/** A secure world with 64 KiB of protected memory. */
const PROTECTED: BootOptions = {
  capabilities: DYNAMIC_SHM | MEMREF_NULL | PROTMEM,
  before: (world) => {
    world.fast.set(OPTEE_SMC.GET_PROTMEM_CONFIG, () => [0, 0x9000_0000, 0x1_0000, 40]);
  },
};

test("TEE-3.3.SHM_REGISTER_FD, TEE-2.SHM_REGISTER_FD: protected memory is named by dma-buf, passed by address, and never mapped", () => {
  desk(function* body({ bench, process, fd, commands }) {
    const registerFd = (of: number, flags = 0) =>
      register(process, fd, of, 0, { flags, request: TEE_IOC.SHM_REGISTER_FD });
    const heap = bench.driver.protectedHeap;
    const first = process.allocateProtected(4096);
    const buffer = process.allocateProtected(5000);
    const made = yield* registerFd(buffer);
    expect([made.id, made.size]).toEqual([1, 8192]);
    expect(process.mmap(made.fd)).toBeUndefined();
    expect(commands).toEqual([]);
    const words: number[] = [];
    bench.world.onMessage = ({ message }) => {
      words.push(message.low(2, WORD.attr), message.number(2, WORD.buf_ptr));
      return 0;
    };
    const arg = openArg([memref(PARAM_ATTR.MEMREF_INOUT, 100, 50, made.id)]);
    yield* variable(process, fd, TEE_IOC.OPEN_SESSION, arg);
    expect(words).toEqual([ATTR_TYPE.TMEM_INOUT, 0x9000_1000 + 100]);
    expect((yield* registerFd(99)).fd).toBe(-EBADF);
    expect((yield* registerFd(fd)).fd).toBe(-EINVAL);
    expect((yield* registerFd(buffer, 1)).fd).toBe(-EINVAL);
    // The dma-buf lives while the object does.
    for (const one of [first, buffer]) yield* process.close(one);
    expect(heap?.buffers).toBe(1);
    yield* process.close(made.fd);
    expect(heap?.buffers).toBe(0);
    expect(process.allocateProtected(0x1_0001)).toBe(-ERRNO.ENOMEM);
  }, PROTECTED);
  desk(function* body({ process, fd }) {
    expect(process.allocateProtected(1)).toBe(-ERRNO.ENOENT);
    const { fd: other } = yield* alloc(process, fd, 4096);
    const request = { request: TEE_IOC.SHM_REGISTER_FD };
    expect((yield* register(process, fd, other, 0, request)).fd).toBe(-EINVAL);
  });
});

test("TEE-3.3.1: ids start at 1, are the device's, and are used again", () => {
  desk(function* body({ process, fd }) {
    const other = yield* process.open("/dev/tee0");
    const first = yield* alloc(process, fd, 1);
    const second = yield* alloc(process, other, 1);
    expect([first.id, second.id]).toEqual([1, 2]);
    yield* process.close(first.fd);
    expect((yield* alloc(process, other, 1)).id).toBe(1);
    const priv = yield* process.open("/dev/teepriv0");
    expect((yield* alloc(process, priv, 1)).id).toBe(1);
  });
});

test("TEE-3.3.2: memory is unregistered with its last reference, and freed although that fails", () => {
  desk(function* body({ bench, process, fd, commands }) {
    const { kernel } = bench.linux;
    yield* variable(process, fd, TEE_IOC.OPEN_SESSION, openArg());
    const used = kernel.pages.usedPages;
    const made = yield* alloc(process, fd, 4096);
    const copy = process.dup(made.fd);
    commands.length = 0;
    bench.world.onMessage = ({ message }) => {
      commands.push(message.cmd);
      if (message.cmd === MSG_CMD.INVOKE_COMMAND) return slow();
      message.ret = TEEC.TEEC_ERROR_BAD_PARAMETERS;
      return 0;
    };
    const arg = invokeArg(1, [memref(PARAM_ATTR.MEMREF_INPUT, 0, 1, made.id)]);
    const call = bench.scheduler.spawn("call", variable(process, fd, TEE_IOC.INVOKE, arg));
    while (commands.length === 0) yield null;
    yield* process.close(made.fd);
    yield* process.close(copy);
    expect([call.finished, commands]).toEqual([false, [MSG_CMD.INVOKE_COMMAND]]);
    yield* call.join();
    expect(commands).toEqual([MSG_CMD.INVOKE_COMMAND, MSG_CMD.UNREGISTER_SHM]);
    expect(bench.log).toEqual([expect.stringContaining("failed to unregister")]);
    expect(kernel.pages.usedPages).toBe(used);
  });
});

test("TEE-3.3.4: memory of the supplicant's device is not registered", () => {
  for (const capabilities of [DYNAMIC_SHM, HAVE_RESERVED_SHM]) {
    desk(
      function* body({ bench, process, commands }) {
        const priv = yield* process.open("/dev/teepriv0");
        yield* bench.linux.devices.get("/dev/teepriv0")?.scan?.join() ?? process.exit();
        commands.length = 0;
        const made = yield* alloc(process, priv, 4096);
        expect(made.id).toBe(1);
        if (capabilities === DYNAMIC_SHM) {
          const buffer = process.memory.allocate(4096);
          expect((yield* register(process, priv, buffer?.address ?? 0, 4096)).id).toBe(2);
        }
        yield* process.exit();
        expect(commands).toEqual([]);
        expect(bench.linux.devices.get("/dev/teepriv0")?.shmIds).toEqual([]);
      },
      { capabilities },
    );
  }
});
