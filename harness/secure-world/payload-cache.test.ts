import { expect, test } from "@jest/globals";
import { ATTR_TYPE, RPC_CMD, SHM_TYPE, TEEC } from "../optee-abi/index.ts";
import { cachedPayload } from "./rpc.ts";
import { PTA_DEFAULT_FLAGS, type TrustedApplication } from "./tas/index.ts";
import { type Param, SecureKit, value } from "./testkit/kit.ts";

const UUID = "aaaaaaaa-0000-4000-8000-0000000000cc";
const USERS = ["SOCKET", "FS", "I2C", "RPMB"] as const;

/** A part of the core that asks for the buffer of user `a` with `b` bytes, for each parameter. */
const asker: TrustedApplication = {
  name: "asker",
  uuid: UUID,
  flags: PTA_DEFAULT_FLAGS,
  stackSize: 0,
  dataSize: 0,
  imageSize: 0,
  instantiate: () => ({
    *invoke(tee, type, params) {
      let failed = 0;
      for (const { type: kind, a, b } of params) {
        const user = USERS[a];
        if (kind === 0 || user === undefined) continue;
        if ((yield* cachedPayload(tee.thread, user, b, type)) === undefined) failed += 1;
      }
      return failed === 0 ? TEEC.TEEC_SUCCESS : TEEC.TEEC_ERROR_OUT_OF_MEMORY;
    },
  }),
};

const ask = (user: (typeof USERS)[number], size: number): Param =>
  value(ATTR_TYPE.VALUE_INPUT, BigInt(USERS.indexOf(user)), BigInt(size));

/** What is allocated and freed by a call that asks for these buffers. */
function trafficOf(
  kit: SecureKit,
  params: readonly Param[],
  type: number = SHM_TYPE.APPL,
): { ret: number; traffic: string[] } {
  const { session } = kit.open(UUID);
  kit.rpcs.length = 0;
  const { ret } = kit.invoke(session, type, params);
  const traffic = kit.rpcs.flatMap(({ message }) => {
    const [first] = message?.params ?? [];
    if (message?.cmd === RPC_CMD.SHM_ALLOC) return [`alloc ${first?.a} ${first?.b}`];
    return message?.cmd === RPC_CMD.SHM_FREE ? [`free ${first?.a}`] : [];
  });
  return { ret, traffic };
}

const kitOf = (): SecureKit => new SecureKit({ pseudoTas: [asker], userTas: [] });

test("MSG-3.6: a buffer is kept for its user, in whole pages, until more is asked for", () => {
  const kit = kitOf();
  const params = [ask("FS", 1), ask("FS", 4096), ask("FS", 4097), ask("FS", 100)];
  expect(trafficOf(kit, params)).toEqual({
    ret: 0,
    traffic: ["alloc 0 4096", "free 0", "alloc 0 8192", "free 0"],
  });
  expect(kit.livePayloads).toBe(0);
});

test("MSG-3.6: what was asked for counts, not what the normal world gave", () => {
  const kit = kitOf();
  kit.onCommand = (message, own, at) => {
    if (message.cmd !== RPC_CMD.SHM_ALLOC) return false;
    const pages = [1, 2, 3, 4].map(() => own.page());
    own.adoptPayload(0x99n, pages);
    const params = [{ attr: 0x20an, a: own.listOf(pages), b: 16_384n, c: 0x99n }];
    own.reply({ ...message, params }, at, 0);
    return true;
  };
  expect(trafficOf(kit, [ask("FS", 10), ask("FS", 5000)]).traffic).toEqual([
    "alloc 0 4096",
    "free 0",
    "alloc 0 8192",
    "free 0",
  ]);
});

test("MSG-3.6: users have buffers of their own, of the type asked for, and the newest is freed first", () => {
  const kit = kitOf();
  const freed: bigint[] = [];
  const allocated: bigint[] = [];
  kit.onCommand = (message, own, at) => {
    const [first] = message.params;
    if (message.cmd === RPC_CMD.SHM_FREE) freed.push(first?.b ?? 0n);
    if (message.cmd !== RPC_CMD.SHM_ALLOC) return false;
    const cookie = 0x100n + BigInt(allocated.length);
    allocated.push(cookie);
    const pages = [own.page()];
    own.adoptPayload(cookie, pages);
    const params = [{ attr: 0x20an, a: own.listOf(pages), b: 4096n, c: cookie }];
    own.reply({ ...message, params }, at, 0);
    return true;
  };
  const params = [ask("FS", 1), ask("SOCKET", 1), ask("RPMB", 1)];
  expect(trafficOf(kit, params, SHM_TYPE.KERNEL).traffic).toEqual([
    "alloc 1 4096",
    "alloc 1 4096",
    "alloc 1 4096",
    "free 1",
    "free 1",
    "free 1",
  ]);
  expect(freed).toEqual(allocated.toReversed());
});

test("MSG-3.6: a buffer that does not start at 8 bytes is given back, and nothing is asked for 0 bytes", () => {
  const kit = kitOf();
  kit.onCommand = (message, own, at) => {
    if (message.cmd !== RPC_CMD.SHM_ALLOC) return false;
    const pages = [own.page(), own.page()];
    own.adoptPayload(0x98n, pages);
    const params = [{ attr: 0x20an, a: own.listOf(pages) + 4n, b: 4096n, c: 0x98n }];
    own.reply({ ...message, params }, at, 0);
    return true;
  };
  expect(trafficOf(kit, [ask("FS", 1)])).toEqual({
    ret: TEEC.TEEC_ERROR_OUT_OF_MEMORY,
    traffic: ["alloc 0 4096", "free 0"],
  });
  expect(trafficOf(kit, [ask("FS", 0)]).traffic).toEqual([]);
  expect([kit.livePayloads, kit.world.partitions.all[0]?.registered.count]).toEqual([0, 0]);
});
