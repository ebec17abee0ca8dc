import { expect, test } from "@jest/globals";
import { type Ipa, sleep, type Task } from "../machine/index.ts";
import { ATTR_TYPE, FS_OP, RPC_CMD, SEC_CAP, SHM_TYPE, TEEC } from "../optee-abi/index.ts";
import { Bench } from "./testkit/boot.ts";
import { inSecureWorld, rpc, VALUE_IN, VALUE_INOUT, VALUE_OUT } from "./testkit/rpc.ts";
import type { RpcReply, Script, ScriptedCall } from "./testkit/scripted-world.ts";

const OK = TEEC.TEEC_SUCCESS;
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const { DYNAMIC_SHM, HAVE_RESERVED_SHM, MEMREF_NULL, RPC_ARG } = SEC_CAP;
const text = (of: string): Uint8Array => new TextEncoder().encode(of);

/** SHM_FREE of memory of the supplicant. */
const free = (call: ScriptedCall, cookie: bigint): Script<RpcReply> =>
  call.rpc(RPC_CMD.SHM_FREE, { attr: VALUE_IN, a: SHM_TYPE.APPL, b: cookie });

test("MSG-3.4.ALLOC, MSG-3.4.FREE, MSG-3.4.MEMORY: memory for the secure world is page-aligned heap that is registered, and given back", () => {
  const bench = new Bench().boot();
  const { linux } = bench;
  const used = linux.kernel.pages.usedPages;
  bench.run(
    inSecureWorld(bench, function* memory(call): Script {
      const { reply, cookie, pages } = yield* call.allocate(SHM_TYPE.APPL, 5000);
      // Registered heap keeps its length, the pool's memory would be whole pages.
      expect([reply.ret, reply.params[0]?.b, pages.length]).toEqual([OK, 5000n, 2]);
      expect(Number(reply.params[0]?.a) % 4096).toBe(0);
      expect(linux.supplicant?.sharedMemory).toBe(1);
      expect((yield* free(call, cookie)).ret).toBe(OK);
      expect(linux.supplicant?.sharedMemory).toBe(0);
      return 0;
    }),
  );
  expect(linux.kernel.pages.usedPages).toBe(used);
});

test("MSG-3.4.MEMORY: where nothing can be registered it is allocated from the driver and mapped", () => {
  const bench = new Bench({ capabilities: HAVE_RESERVED_SHM | MEMREF_NULL | RPC_ARG }).boot();
  const { linux, world } = bench;
  linux.disk.store("/var/lib/tee/f", text("contents"));
  const seen = bench.run(
    inSecureWorld(bench, function* memory(call): Script<unknown[]> {
      const { reply, cookie, pages } = yield* call.allocate(SHM_TYPE.APPL, 100);
      const [page = 0] = pages;
      world.memory.write(page as Ipa, text("f\0"));
      const at = { attr: ATTR_TYPE.TMEM_INPUT, a: page, b: 2, c: cookie };
      const opened = yield* call.rpc(RPC_CMD.FS, { attr: VALUE_IN }, at, { attr: VALUE_OUT });
      const read = yield* call.rpc(
        RPC_CMD.FS,
        { attr: VALUE_IN, a: FS_OP.READ, b: opened.params[2]?.a ?? 0 },
        { attr: ATTR_TYPE.TMEM_OUTPUT, a: page + 10, b: 90, c: cookie },
      );
      const bytes = world.memory.read((page + 10) as Ipa, 8);
      yield* free(call, cookie);
      return [reply.params[0]?.attr, page >= world.reserved.base, read.params[1]?.b, bytes];
    }),
  );
  expect(seen).toEqual([BigInt(ATTR_TYPE.TMEM_OUTPUT), true, 8n, text("contents")]);
  expect(linux.supplicant?.sharedMemory).toBe(0);
  expect(linux.devices.get("/dev/teepriv0")?.shmIds).toEqual([]);
});

test("MSG-3.4.FREE: memory that the supplicant does not have is BAD_PARAMETERS from it", () => {
  const bench = new Bench().boot();
  const request = { attr: 3, a: 0n, c: 0n, shm: undefined };
  const caller = { killed: false, waitsOn: new Set<never>(), supplicantNoWait: false };
  const { supplicant } = bench.driver;
  const ask = (command: number, b: bigint, count = 1): number => {
    const params = Array.from({ length: count }, () => ({ ...request, b }));
    return bench.run(supplicant.request(command, params, caller));
  };
  expect(ask(RPC_CMD.SHM_FREE, 77n)).toBe(BAD);
  expect(ask(RPC_CMD.SHM_FREE, 0n, 2)).toBe(BAD);
  expect(ask(RPC_CMD.SHM_ALLOC, 4096n, 2)).toBe(BAD);
  expect(ask(RPC_CMD.SHM_ALLOC, 2n ** 40n)).toBe(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
});

/** value[0] of an FS request. */
const fs = (a: number, b: number | bigint = 0, c = 0) => ({ attr: VALUE_IN, a, b, c });

test("MSG-3.FS: files of the secure world are kept by the supplicant", () => {
  const bench = new Bench({ capabilities: DYNAMIC_SHM | MEMREF_NULL }).boot();
  const read = bench.run(
    inSecureWorld(bench, function* files(call): Script<unknown[]> {
      const { cookie, pages } = yield* call.allocate(SHM_TYPE.APPL, 4096);
      const [page = 0] = pages;
      const memory = (attr: number, b: number) => ({ attr, a: 0, b, c: cookie });
      call.world.memory.write(page as Ipa, text("dir/file\0"));
      const made = yield* call.rpc(RPC_CMD.FS, fs(FS_OP.CREATE), memory(ATTR_TYPE.RMEM_INPUT, 9), {
        attr: VALUE_OUT,
      });
      const handle = made.params[2]?.a ?? 0n;
      call.world.memory.write(page as Ipa, text("hello"));
      const input = memory(ATTR_TYPE.RMEM_INPUT, 5);
      yield* call.rpc(RPC_CMD.FS, fs(FS_OP.WRITE, handle, 3), input);
      const output = memory(ATTR_TYPE.RMEM_OUTPUT, 4096);
      const { params } = yield* call.rpc(RPC_CMD.FS, fs(FS_OP.READ, handle, 2), output);
      const bytes = call.world.memory.read(page as Ipa, 6);
      yield* call.rpc(RPC_CMD.FS, fs(FS_OP.CLOSE, handle));
      yield* free(call, cookie);
      return [params[1]?.b, bytes];
    }),
  );
  expect(read).toEqual([6n, text("\0hello")]);
  expect(bench.linux.supplicant?.files.openFiles).toBe(0);
});

test("TEE-4.OUTSTANDING, MSG-3.SOCKET: a service that waits holds up no other: there is always a thread for the next request", () => {
  const bench = new Bench().boot();
  const { linux, scheduler } = bench;
  linux.network.listen("tcp", "127.0.0.1", 7, function* silent(connection): Task {
    yield* connection.receive();
  });
  const receive = inSecureWorld(bench, function* receive(call): Script {
    const { cookie, pages } = yield* call.allocate(SHM_TYPE.APPL, 4096);
    const [page = 0] = pages;
    call.world.memory.write(page as Ipa, text("127.0.0.1\0"));
    const opened = yield* call.rpc(
      RPC_CMD.SOCKET,
      { attr: VALUE_IN, a: 0, b: 1 },
      { attr: VALUE_IN, a: 7, b: 0x65 },
      { attr: ATTR_TYPE.RMEM_INPUT, a: 0, b: 10, c: cookie },
      { attr: VALUE_OUT },
    );
    const got = yield* call.rpc(
      RPC_CMD.SOCKET,
      { attr: VALUE_IN, a: 4, b: 1, c: opened.params[3]?.a ?? 0 },
      { attr: ATTR_TYPE.RMEM_OUTPUT, a: 0, b: 10, c: cookie },
      { attr: VALUE_IN, a: 500 },
    );
    yield* free(call, cookie);
    return got.ret;
  });
  const waiting = scheduler.spawn("receives", receive);
  bench.run(sleep(10));
  expect(waiting.finished).toBe(false);
  expect(rpc(bench, 13, { attr: VALUE_INOUT }).ret).toBe(TEEC.TEEC_ERROR_NOT_SUPPORTED);
  expect(linux.supplicant?.threads).toBeGreaterThan(1);
  expect(waiting.finished).toBe(false);
  scheduler.runUntil(() => waiting.finished);
  expect(waiting.result()).toBe(0xf100_7003);
});

test("TEE-4.5: an answer that comes after its client ends the supplicant, which others may follow", () => {
  const bench = new Bench().boot();
  const { linux, scheduler } = bench;
  linux.network.addHost("10.0.0.1", "far", "is silent");
  const process = linux.process("client");
  const connect = inSecureWorld(
    bench,
    function* connect(call): Script {
      const { cookie, pages } = yield* call.allocate(SHM_TYPE.APPL, 4096);
      call.world.memory.write((pages[0] ?? 0) as Ipa, text("far\0"));
      const opened = yield* call.rpc(
        RPC_CMD.SOCKET,
        { attr: VALUE_IN, a: 0, b: 1 },
        { attr: VALUE_IN, a: 7, b: 0x65 },
        { attr: ATTR_TYPE.RMEM_INPUT, a: 0, b: 4, c: cookie },
        { attr: VALUE_OUT },
      );
      yield* free(call, cookie);
      return opened.ret;
    },
    process,
  );
  const client = scheduler.spawn("client", connect);
  bench.run(sleep(10));
  process.kill();
  scheduler.runUntil(() => client.finished);
  expect(client.result()).toBe(TEEC.TEEC_ERROR_COMMUNICATION);
  const first = linux.supplicant?.process;
  // The answer finds nobody; the main thread notices with the request after.
  bench.run(sleep(200_000));
  expect(first?.exited).toBe(false);
  rpc(bench, 13, { attr: VALUE_INOUT });
  scheduler.runUntilIdle();
  expect(first?.exited).toBe(true);
  expect(linux.devices.get("/dev/teepriv0")?.shmIds).toEqual([]);
  expect(bench.run(linux.startSupplicant())).toBe(0);
});
