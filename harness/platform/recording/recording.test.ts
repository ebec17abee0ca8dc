import { createHash } from "node:crypto";
import { expect, test } from "@jest/globals";
import { loadBoard } from "../../board/index.ts";
import { type AccessProbe, type Ipa, type Pa, Registers } from "../../machine/index.ts";
import {
  ATTR_TMEM_OUTPUT_NONCONTIG,
  encodeMessage,
  encodePageList,
  functionName,
  MSG_CMD,
  OPTEE_SMC,
  RPC_CMD,
} from "../../optee-abi/index.ts";
import type { TraceMessage, TraceRecord } from "../../run/index.ts";
import { createEmulated, type EmulatedPlatform, taImages } from "../emulated.ts";
import { EmulatedContext } from "../emulated-context.ts";
import { EmulatedTarget } from "../emulated-target.ts";
import type { SmcObservation } from "../scenario.ts";
import { type Combination, RecordList, Recorder, recordConduit, recordPort } from "../index.ts";

const PAGE = 4096;

function recorded(
  conduit: Combination["conduit"],
  rules: NonNullable<Combination["rules"]> = "strict",
): {
  platform: EmulatedPlatform;
  context: EmulatedContext;
  records: TraceRecord[];
} {
  const list = new RecordList();
  const recorder = new Recorder(list);
  const platform = createEmulated({
    conduit,
    rules,
    seed: 1,
    console: (line) => recorder.console(line),
    recorder,
  });
  return { platform, context: new EmulatedContext(platform), records: list.records };
}

/** The records of a scenario of the suites. */
async function traceOf(reference: string, on: Combination): Promise<readonly TraceRecord[]> {
  const target = new EmulatedTarget(await loadBoard("emulated", { env: {} }));
  let taken: readonly TraceRecord[] = [];
  await target.run(reference, null, on, (records) => {
    taken = records;
  });
  return taken;
}

type SmcRecord = Extract<TraceRecord, { type: "smc" }>;
const isSmc = (record: TraceRecord): record is SmcRecord => record.type === "smc";
const VM: Combination = { conduit: "vm", rules: "strict" };

const sha = (bytes: Uint8Array): string =>
  createHash("sha256").update(bytes).digest("hex").slice(0, 16);

test("every SMC is recorded with x0 to x7, at the conduit and behind the mediator", () => {
  const { context, records } = recorded("vm");
  const seen: { where: string; phase: string; guest?: number; registers: string[] }[] = [];
  const before = records.length;
  context.observe(({ where, phase, guest, registers }: SmcObservation) => {
    const words = Array.from({ length: 8 }, (_, i) => `0x${registers.get64(i).toString(16)}`);
    seen.push({ where, phase, ...(guest === undefined ? {} : { guest }), registers: words });
  });
  context.client();
  context.client(1);
  const smcs = records
    .slice(before)
    .filter(isSmc)
    .map(({ where, phase, guest, registers }) => {
      return { where, phase, ...(guest === undefined ? {} : { guest }), registers };
    });
  expect(seen.length).toBeGreaterThan(100);
  expect(smcs).toEqual(seen);
  expect(new Set(smcs.map(({ where, guest }) => `${where} ${guest}`))).toEqual(
    new Set(["port undefined", "conduit 0", "conduit 1"]),
  );
});

test("guests are recorded as they come, are refused and go, and console lines within their SMC", () => {
  const { context, records } = recorded("vm");
  const guest = context.guest(0);
  context.guest(1);
  expect(() => context.guest(2)).toThrow(/no room/);
  guest.destroy();
  const life = records.filter(({ type }) => type !== "smc");
  expect(life).toEqual([
    // The mediator tries its right to destroy VMs on one that there is not.
    { type: "console", text: "I/TC: Removing guest 0" },
    { type: "console", text: "E/TC: Client with id 0 is not found" },
    { type: "console", text: "I/TC: Added guest 1" },
    { type: "guest", guest: 0, what: "created" },
    { type: "console", text: "I/TC: Added guest 2" },
    { type: "guest", guest: 1, what: "created" },
    { type: "guest", guest: 2, what: "refused" },
    { type: "console", text: "I/TC: Removing guest 1" },
    { type: "guest", guest: 0, what: "destroyed" },
  ]);
  const line = records.findIndex((one) => one.type === "console" && one.text.includes("Added"));
  expect(records[line - 1]).toMatchObject({ phase: "enter", where: "port" });
  expect(records[line + 1]).toMatchObject({ phase: "leave", where: "port" });
});

const conduits: Combination[] = [VM, { conduit: "direct" }, { conduit: "hwdom" }];

test.each(conduits)(
  "what a call and its RPCs hand over is recorded on conduit $conduit",
  async (on) => {
    const records = await traceOf("normal-world/services#rpcKinds", on);
    const messages = records.filter(isSmc).filter(({ where }) => where === "conduit");
    const rpcs = messages.filter(({ message }) => message?.role === "rpc");
    const requests = rpcs.filter(({ phase }) => phase === "leave").map(({ message }) => message);
    const answers = rpcs.filter(({ phase }) => phase === "enter").map(({ message }) => message);
    // Each CMD has its request and its answer, in turns, at the same place.
    expect(requests.length).toBe(answers.length);
    expect(requests.map((one) => [one?.at, one?.cmd])).toEqual(
      answers.map((one) => [one?.at, one?.cmd]),
    );
    const cmds = messages.filter(({ phase, registers }) => {
      return phase === "leave" && registers[0] === "0xffff0005";
    });
    expect(requests.length).toBe(cmds.length);
    // A TA is loaded in two steps: its size, then its bytes. Those are what the supplicant has.
    const loads = answers.filter((one) => one?.cmd === RPC_CMD.LOAD_TA);
    const images = [...taImages().values()].map((image) => sha(image.subarray(0, 65_536)));
    const [asked, given] = loads.map((one) => one?.params[1]);
    expect(asked?.data).toBeUndefined();
    expect(images).toContain(given?.data?.digest);
    // Where memory comes from is no data.
    for (const one of [...requests, ...answers]) {
      if (one?.cmd !== RPC_CMD.SHM_ALLOC) continue;
      expect(one.params.every(({ data }) => data === undefined)).toBe(true);
    }
    // Each call that completed shows its message twice, the second time with its results.
    const calls = messages.filter(({ message }) => message?.role === "call");
    const results = calls.filter(({ phase }) => phase === "leave").map(({ message }) => message);
    expect(results.length).toBe(calls.length / 2);
    expect(results.filter((one) => one?.cmd === MSG_CMD.OPEN_SESSION).at(-1)).toMatchObject({
      ret: 0,
      session: expect.any(Number),
    });
    expect(records.at(-1)).toMatchObject({ type: "end", how: "done", value: { result: 0 } });
  },
);

test.each(conduits)(
  "outputs are digested when the call is done, temporary and registered memory alike, on $conduit",
  async (on) => {
    const records = [
      ...(await traceOf("normal-world/parameters#partialMemref", on)),
      ...(await traceOf("normal-world/parameters#shortBuffer", on)),
    ];
    const params = records
      .filter(isSmc)
      .filter(({ where, phase, message }) => {
        return where === "conduit" && phase === "leave" && message?.cmd === MSG_CMD.INVOKE_COMMAND;
      })
      .flatMap(({ message }) => message?.params ?? []);
    const digested = params.flatMap(({ data, b }) => (data === undefined ? [] : [{ data, b }]));
    expect(digested.length).toBeGreaterThan(0);
    for (const { data, b } of digested) {
      expect(data.size).toBe(Math.min(Number(b), 65_536));
      if (data.size > 32) continue;
      expect(data.digest).toBe(sha(Buffer.from(data.head, "hex")));
    }
    const short = records.filter(isSmc).find(({ phase, message }) => {
      return phase === "leave" && message?.ret === 0xffff_0010;
    });
    // A size that is larger than the buffer was: nothing was written there.
    expect(short?.message?.params.every(({ data }) => data === undefined)).toBe(true);
  },
);

test("what a mediator asks before there is a guest is recorded as well", () => {
  const { records } = recorded("vm", "kvm");
  const calls = records.filter(isSmc).filter(({ phase }) => phase === "enter");
  expect(
    calls.map(({ where, registers: [x0, x1] }) => [where, functionName(Number(x0)), x1]),
  ).toEqual([
    ["port", "CALLS_UID", "0x0"],
    ["port", "GET_THREAD_COUNT", "0x0"],
    ["port", "VM_DESTROYED", "0x0"],
    // The host is VM 1 there.
    ["port", "VM_CREATED", "0x1"],
  ]);
});

/** Accesses to memory while a client connects. */
function accesses(record: boolean): number {
  const { platform, context } = recorded("vm");
  const { recorder: _, ...options } = platform.options;
  const plain = record ? context : new EmulatedContext(createEmulated(options));
  let count = 0;
  const probe: AccessProbe = () => {
    count += 1;
  };
  plain.platform.memory.probe = probe;
  plain.client();
  expect(plain.platform.memory.probe).toBe(probe);
  return count;
}

test("recording reads memory without being seen by what watches or disturbs the machine", () => {
  expect(accesses(true)).toBe(accesses(false));
  expect(accesses(true)).toBeGreaterThan(100);
});

/** A conduit and its port that answer whatever they are told, on a kilobyte of nothing. */
function scripted(answers: readonly (readonly number[])[]): {
  run: (words: readonly number[]) => SmcRecord[];
  put: (at: number, bytes: Uint8Array) => void;
} {
  const { port } = createEmulated({ conduit: "direct", seed: 1 });
  const list = new RecordList();
  const left = [...answers];
  const watched = recordPort(
    {
      memory: port.memory,
      smc: (registers) => {
        const words = left.shift() ?? [0];
        for (let index = 0; index < 4; index += 1) registers.set(index, words[index] ?? 0);
      },
    },
    new Recorder(list),
  );
  return {
    run: (words) => {
      list.records.length = 0;
      watched.smc(new Registers(words));
      return list.records.filter(isSmc);
    },
    put: (at, bytes) => port.memory.write(at as Pa, bytes),
  };
}

const AT = 0x4800_0000;
const callAt = (at: number): number[] => [OPTEE_SMC.CALL_WITH_ARG, Math.floor(at / 2 ** 32), at];

test("messages that cannot be read, and parameters that cannot be, are left out and nothing breaks", () => {
  const { run, put } = scripted([]);
  const messageOf = (words: readonly number[]): TraceMessage | undefined => run(words)[0]?.message;
  // Not memory; secure memory; behind every address.
  expect(messageOf(callAt(0x1000))).toBeUndefined();
  expect(messageOf(callAt(0x0e10_0000))).toBeUndefined();
  expect(messageOf([OPTEE_SMC.CALL_WITH_ARG, 0xffff_ffff, 0xffff_f000])).toBeUndefined();
  // A cookie that nobody registered.
  expect(messageOf([OPTEE_SMC.CALL_WITH_REGD_ARG, 0, 0x77, 0])).toBeUndefined();
  // More parameters than a page holds, and more than are kept.
  put(AT, encodeMessage({ cmd: 1 }));
  put(AT + 28, Uint8Array.of(0xff, 0xff, 0xff, 0xff));
  expect(messageOf(callAt(AT))).toMatchObject({ numParams: 0xffff_ffff, params: [] });
  put(AT + 28, Uint8Array.of(100, 0, 0, 0));
  expect(messageOf(callAt(AT))?.params.length).toBe(16);
  // The message begins in memory and ends outside.
  const last = 0x4000_0000 + 1024 * 1024 * 1024 - 64;
  put(last, encodeMessage({ cmd: 3 }));
  put(last + 28, Uint8Array.of(4, 0, 0, 0));
  expect(messageOf(callAt(last))).toMatchObject({ cmd: 3, numParams: 4, params: [] });
});

test("hostile references have no data: endless sizes, lists in circles, odd entries, unknown cookies", () => {
  const { run, put } = scripted([]);
  const list = new Uint8Array(PAGE);
  // A page list whose link leads to itself.
  encodePageList([AT + 2 * PAGE], [AT + PAGE], [list]);
  new DataView(list.buffer).setBigUint64(511 * 8, BigInt(AT + PAGE), true);
  put(AT + PAGE, list);
  const odd = new Uint8Array(PAGE);
  new DataView(odd.buffer).setBigUint64(0, BigInt(AT + 1), true);
  put(AT + 4 * PAGE, odd);
  const noncontig = BigInt(ATTR_TMEM_OUTPUT_NONCONTIG);
  const params = [
    { attr: noncontig, a: BigInt(AT + PAGE), b: 2n ** 63n, c: 1n },
    { attr: noncontig, a: BigInt(AT + 4 * PAGE), b: 16n, c: 2n },
    { attr: 0xan, a: 2n ** 64n - 8n, b: 2n ** 64n - 1n, c: 3n },
    { attr: 6n, a: 0n, b: 16n, c: 0xdeadn },
    { attr: 6n, a: 2n ** 64n - 1n, b: 16n, c: 1n },
  ];
  put(AT, encodeMessage({ cmd: MSG_CMD.INVOKE_COMMAND, params }));
  const [, leave] = run(callAt(AT));
  expect(leave?.message?.params.map(({ data }) => data)).toEqual(params.map(() => undefined));
  // What is there is digested, so the above is not for want of looking.
  put(AT + 2 * PAGE, Uint8Array.of(1, 2, 3, 4));
  put(AT, encodeMessage({ cmd: 1, params: [{ attr: noncontig, a: BigInt(AT + PAGE), b: 4n }] }));
  expect(run(callAt(AT))[1]?.message?.params[0]?.data).toEqual({
    size: 4,
    digest: sha(Uint8Array.of(1, 2, 3, 4)),
    head: "01020304",
  });
});

test("registered memory is found by its cookie until it is unregistered, the newest first", () => {
  const { run, put } = scripted([]);
  const register = (page: number, ret: number): void => {
    const list = new Uint8Array(PAGE);
    const pointer = encodePageList([page], [AT + PAGE], [list]);
    put(AT + PAGE, list);
    const attr = BigInt(ATTR_TMEM_OUTPUT_NONCONTIG);
    const params = [{ attr, a: BigInt(pointer), b: 8n, c: 0x42n }];
    put(AT, encodeMessage({ cmd: MSG_CMD.REGISTER_SHM, ret, params }));
    run(callAt(AT));
    // The list may be freed as soon as the call is done (MSG-1.4.5).
    put(AT + PAGE, new Uint8Array(PAGE));
  };
  const head = (offset = 0n): string | undefined => {
    const params = [{ attr: 6n, a: offset, b: 2n, c: 0x42n }];
    put(AT, encodeMessage({ cmd: MSG_CMD.INVOKE_COMMAND, params }));
    return run(callAt(AT))[1]?.message?.params[0]?.data?.head;
  };
  const unregister = (): void => {
    const params = [{ attr: 5n, c: 0x42n }];
    put(AT, encodeMessage({ cmd: MSG_CMD.UNREGISTER_SHM, params }));
    run(callAt(AT));
  };
  put(AT + 2 * PAGE, Uint8Array.of(0xaa, 0xab, 0xac));
  put(AT + 3 * PAGE, Uint8Array.of(0xba, 0xbb, 0xbc));
  register(AT + 2 * PAGE, 0);
  expect(head()).toBe("aaab");
  expect(head(1n)).toBe("abac");
  expect(head(4095n)).toBeUndefined();
  // A registration that failed shares nothing.
  register(AT + 3 * PAGE, 0xffff_0006);
  expect(head()).toBe("aaab");
  register(AT + 3 * PAGE, 0);
  expect(head()).toBe("babb");
  unregister();
  expect(head()).toBe("aaab");
  unregister();
  expect(head()).toBeUndefined();
});

/** The high and the low half of a 64-bit value. */
function half(value: bigint): [number, number] {
  return [Number(value >> 32n), Number(value & 0xffff_ffffn)];
}

test("an RPC argument is found where the guest put it, until it is freed", () => {
  const cookie = 0x1_2345_6789n;
  const { run, put } = scripted([
    [0xffff_0000, 160, 0, 1],
    [0xffff_0005, ...half(cookie), 1],
    [0xffff_0002, ...half(cookie), 1],
    [0xffff_0005, ...half(cookie), 1],
  ]);
  put(AT, encodeMessage({ cmd: MSG_CMD.OPEN_SESSION }));
  run(callAt(AT));
  put(AT + PAGE, encodeMessage({ cmd: RPC_CMD.GET_TIME }));
  const resume = [OPTEE_SMC.RETURN_FROM_RPC, 0, AT + PAGE, 1, ...half(cookie)];
  expect(run(resume)[1]?.message).toMatchObject({ role: "rpc", cmd: RPC_CMD.GET_TIME });
  put(AT + PAGE, encodeMessage({ cmd: RPC_CMD.GET_TIME, ret: 7 }));
  const [answer] = run([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 1]);
  expect(answer?.message).toMatchObject({ role: "rpc", cmd: RPC_CMD.GET_TIME, ret: 7 });
  // It was freed: the same cookie names nothing now.
  expect(run([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 1])[1]?.message).toBeUndefined();
});

test("a conduit of one's own is recorded as the guest that one says", () => {
  const { port, memory } = createEmulated({ conduit: "direct", seed: 1 });
  const list = new RecordList(3);
  const conduit = recordConduit(
    {
      kind: "direct",
      ram: { base: AT as Ipa, size: PAGE },
      memory: port.memory as never,
      smc: (registers) => port.smc(registers),
    },
    5,
    new Recorder(list),
  );
  for (let count = 0; count < 2; count += 1) conduit.smc(new Registers([OPTEE_SMC.CALLS_UID]));
  expect(memory.regions.length).toBeGreaterThan(0);
  expect(list.records).toMatchObject([
    { guest: 5, phase: "enter" },
    { guest: 5, phase: "leave" },
    { guest: 5, phase: "enter" },
  ]);
  expect(list.dropped).toBe(1);
});
