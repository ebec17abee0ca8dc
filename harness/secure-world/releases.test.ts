import { expect, test } from "@jest/globals";
import type { Registers } from "../machine/index.ts";
import {
  ATTR_TYPE,
  type Message,
  MSG_CMD,
  NOTIFICATION_OP,
  OPTEE_SMC,
  RPC_CMD,
  SMC_RETURN,
  TEEC,
} from "../optee-abi/index.ts";
import type { OpteeBuild } from "./build.ts";
import { openMessage, rmem, SecureKit, value } from "./testkit/kit.ts";
import { OS_TEST_CMD, OS_TEST_UUID } from "./tas/index.ts";

type Release = readonly [major: number, minor: number];
/** A build of a release, as it was configured from then on. */
const of = ([major, minor]: Release, more: Partial<OpteeBuild> = {}): SecureKit =>
  new SecureKit({ build: { ...more, version: { major, minor } } });

test("SMC-10.GET_THREAD_COUNT: unknown before 3.5.0", () => {
  expect(of([3, 4]).words(OPTEE_SMC.GET_THREAD_COUNT, 0x11)).toEqual([0xffff_ffff, 0x11, 0, 0]);
  expect(of([3, 5]).words(OPTEE_SMC.GET_THREAD_COUNT, 0x11)).toEqual([0, 2, 0, 0]);
});

test("SMC-10.A7_UNKNOWN: a yielding call of no guest stops releases before 4.2.0 for good", () => {
  for (const client of [0, 9]) {
    const old = of([4, 1], { virtualization: true });
    old.clientId = client;
    const at = old.put({ cmd: 99 });
    expect(() => old.start(at)).toThrow(/panicked/);
    expect(() => old.words(OPTEE_SMC.CALLS_UID)).toThrow(/panicked/);
    const kit = of([4, 2], { virtualization: true });
    kit.clientId = client;
    expect(kit.start(kit.put({ cmd: 99 })).get(0)).toBe(SMC_RETURN.ENOTAVAIL);
    expect(kit.words(OPTEE_SMC.CALLS_UID)[0]).toBe(0x384fb3e0);
  }
});

test("SMC-10.VM_CREATED_ID_0: id 0 is accepted before 4.5.0 and refused since", () => {
  expect(of([4, 4], { virtualization: true }).words(OPTEE_SMC.VM_CREATED, 0)[0]).toBe(0);
  expect(of([4, 5], { virtualization: true }).words(OPTEE_SMC.VM_CREATED, 0)[0]).toBe(7);
});

/** A call of client 1 that an interrupt suspended, and the code of a resume by client 2. */
function resumedByAnother(release: Release): number {
  let pending = true;
  const kit = new SecureKit({
    build: { version: { major: release[0], minor: release[1] } },
    interruptPending: () => pending,
  });
  kit.clientId = 1;
  const registers = kit.start(kit.put({ cmd: 99 }));
  expect(registers.get(0)).toBe(SMC_RETURN.RPC_FOREIGN_INTR);
  pending = false;
  kit.clientId = 2;
  kit.serve(registers);
  const code = registers.get(0);
  if (code === SMC_RETURN.ERESUME) {
    // Nothing has changed: who began it still can.
    kit.clientId = 1;
    kit.serve(registers);
    expect(registers.get(0)).toBe(SMC_RETURN.EBADCMD);
  }
  return code;
}

test("SMC-10.RESUME_CLIENT_CHECK: a thread's client is compared up to 3.6 and not since 3.7", () => {
  expect(resumedByAnother([3, 6])).toBe(SMC_RETURN.ERESUME);
  expect(resumedByAnother([3, 7])).toBe(SMC_RETURN.EBADCMD);
});

const withRpcArg = (kit: SecureKit): Registers =>
  kit.smc(OPTEE_SMC.CALL_WITH_RPC_ARG, 0, kit.put(openMessage(OS_TEST_UUID)));

test("SMC-10.RPC_ARG: before 3.17 RPC arguments come by RPC ALLOC only", () => {
  expect(withRpcArg(of([3, 16])).get(0)).toBe(SMC_RETURN.EBADCMD);
  expect(of([3, 16]).smc(OPTEE_SMC.CALL_WITH_REGD_ARG).get(0)).toBe(SMC_RETURN.EBADCMD);
  const old = of([3, 16]);
  expect(old.start(old.put(openMessage(OS_TEST_UUID))).get(0)).toBe(SMC_RETURN.RPC_ALLOC);
  // Supplied with the call: the first RPC is a command, and its cookie is 0.
  const supplied = withRpcArg(of([3, 17]));
  expect([0, 1, 2].map((index) => supplied.get(index))).toEqual([SMC_RETURN.RPC_CMD, 0, 0]);
});

/** The argument of the RPC command in `registers`. */
function argument(kit: SecureKit, registers: Registers): Message | undefined {
  if (registers.get(0) !== SMC_RETURN.RPC_CMD) return undefined;
  const at = kit.argumentAt((BigInt(registers.get(1)) << 32n) | BigInt(registers.get(2)));
  return at === undefined ? undefined : kit.get(at);
}

/** What a thread that must wait for another asks for, with that thread's number. */
function waitRequest(kit: SecureKit): { request: Message; thread: number } {
  const until = (registers: Registers, cmd: number): Message => {
    for (;;) {
      const seen = argument(kit, registers);
      if (seen?.cmd === cmd) return seen;
      kit.serve(registers);
    }
  };
  const { session } = kit.open(OS_TEST_UUID);
  kit.register(8n);
  const waiting = kit.start(
    kit.put({
      cmd: MSG_CMD.INVOKE_COMMAND,
      session,
      func: OS_TEST_CMD.WAIT,
      params: [value(ATTR_TYPE.VALUE_INPUT, 10n), rmem(ATTR_TYPE.RMEM_INPUT, 8n, 0, 8)],
    }),
  );
  until(waiting, RPC_CMD.SUSPEND);
  const unregister = { cmd: MSG_CMD.UNREGISTER_SHM, params: [rmem(5, 8n, 0, 0)] };
  const registers = kit.start(kit.put(unregister));
  return { request: until(registers, RPC_CMD.NOTIFICATION), thread: registers.get(3) };
}

test.each<[string, Release, number]>([
  ["SMC-10.NOTIFICATION_RPC", [3, 15], 0],
  ["SMC-10.NOTIFICATION_RPC", [3, 16], 64],
  ["SMC-10.NOTIFICATION_RPC", [4, 2], 64],
  ["MSG-6.NOTIFICATION_TIMEOUT", [4, 2], 64],
  ["MSG-6.NOTIFICATION_TIMEOUT", [4, 3], 64],
])(
  "%s: in release %j a thread sleeps by command 4, a 0, on value %i and its number, no timeout",
  (_, release, base) => {
    const { request, thread } = waitRequest(of(release));
    expect(request.cmd).toBe(4);
    expect(NOTIFICATION_OP).toEqual({ WAIT: 0, SEND: 1 });
    // A release that knows timeouts says in c that there is none; an older one leaves 0 there.
    expect(request.params[0]).toMatchObject({ a: 0n, b: BigInt(base + thread), c: 0n });
  },
);

test.each<[string, number, Partial<OpteeBuild>]>([
  ["SMC-10.NOT_BUILT", OPTEE_SMC.GET_SHM_CONFIG, { reservedShm: undefined }],
  ["SMC-10.NOT_BUILT", OPTEE_SMC.ENABLE_ASYNC_NOTIF, { asyncNotif: false }],
  ["SMC-10.NOT_BUILT", OPTEE_SMC.GET_ASYNC_NOTIF_VALUE, { asyncNotif: false }],
  ["SMC-10.NOT_BUILT", OPTEE_SMC.L2CC_MUTEX, {}],
])("%s: %i answers UNKNOWN_FUNCTION and not ENOTAVAIL", (_, fid, build) => {
  expect(new SecureKit({ build }).smc(fid).get(0)).toBe(SMC_RETURN.UNKNOWN_FUNCTION);
});

const openedWithNull = (release: Release): Message =>
  of(release).open(OS_TEST_UUID, [{ attr: BigInt(ATTR_TYPE.TMEM_INPUT), a: 0n, b: 0n, c: 0n }]);

test("MSG-6.MEMREF_NULL: before 3.9.0 a reference to address 0 is no NULL but bad", () => {
  expect(openedWithNull([3, 8]).ret).toBe(TEEC.TEEC_ERROR_BAD_PARAMETERS);
  expect(openedWithNull([3, 9]).ret).toBe(TEEC.TEEC_SUCCESS);
});

test("MSG-6.ASYNC_NOTIF: before 3.16.0 the notification messages are unknown commands", () => {
  for (const cmd of [MSG_CMD.DO_BOTTOM_HALF, MSG_CMD.STOP_ASYNC_NOTIF]) {
    expect(of([3, 15]).call({ cmd, ret: 0x77 })).toMatchObject({
      a0: SMC_RETURN.EBADCMD,
      ret: 0x77,
    });
    expect(of([3, 16]).call({ cmd }).a0).toBe(SMC_RETURN.OK);
  }
});

test("MSG-6.PROTMEM: before 4.9.0 the protected-memory messages are unknown commands", () => {
  const { LEND_PROTMEM, RECLAIM_PROTMEM, GET_PROTMEM_CONFIG } = MSG_CMD;
  const lent = { protectedMemory: "lent" } as const;
  for (const cmd of [LEND_PROTMEM, RECLAIM_PROTMEM, GET_PROTMEM_CONFIG]) {
    expect(of([4, 8], lent).call({ cmd, ret: 0x77 })).toMatchObject({
      a0: SMC_RETURN.EBADCMD,
      ret: 0x77,
    });
    expect(of([4, 9], lent).call({ cmd, ret: 0x77 })).toMatchObject({
      a0: SMC_RETURN.OK,
      ret: TEEC.TEEC_ERROR_BAD_PARAMETERS,
    });
  }
});
