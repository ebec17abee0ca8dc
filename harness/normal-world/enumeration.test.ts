import { expect, test } from "@jest/globals";
import { type Ipa } from "../machine/index.ts";
import { ATTR_TYPE, MSG_CMD, SEC_CAP, TEEC, WORD } from "../optee-abi/index.ts";
import { EmmcRpmb } from "../rpmb/index.ts";
import { Bench, type BootOptions } from "./testkit/boot.ts";
import type { ScriptedCall, ScriptedWorld } from "./testkit/scripted-world.ts";

const UUID = Uint8Array.from({ length: 16 }, (_, index) => 0x10 + index);
const TEXT = "10111213-1415-1617-1819-1a1b1c1d1e1f";

/** A device-enumeration pseudo-TA; what it is asked is kept: command, attribute, size. */
function enumerating(options: BootOptions = {}): { bench: Bench; asked: number[][] } {
  const asked: number[][] = [];
  const bench = new Bench({
    ...options,
    before: (world) => {
      world.onMessage = (call) => answer(world, call, asked);
    },
  });
  return { bench, asked };
}

function answer(world: ScriptedWorld, call: ScriptedCall, asked: number[][]): number | undefined {
  const { message } = call;
  if (message.cmd === MSG_CMD.OPEN_SESSION) {
    message.ret = TEEC.TEEC_SUCCESS;
    message.session = 7;
    return 0;
  }
  if (message.cmd !== MSG_CMD.INVOKE_COMMAND) return undefined;
  const size = message.number(0, WORD.size);
  asked.push([message.func, message.low(0, WORD.attr), size]);
  message.ret = size < 16 ? TEEC.TEEC_ERROR_SHORT_BUFFER : TEEC.TEEC_SUCCESS;
  message.setNumber(0, WORD.size, 16);
  if (size >= 16) {
    const [page = 0] = world.registered.get(message.big(0, WORD.shm_ref)) ?? [];
    world.memory.write((page + message.number(0, WORD.offs)) as Ipa, UUID);
  }
  return 0;
}

const QUERY = ATTR_TYPE.TMEM_OUTPUT;
const LIST = ATTR_TYPE.RMEM_OUTPUT;

test("SMC-9.P12, TEE-4.1: devices are enumerated at probe, and again when the supplicant first opens", () => {
  const { bench, asked } = enumerating();
  bench.probed();
  expect(asked).toEqual([
    [0, QUERY, 0],
    [0, LIST, 16],
  ]);
  expect(bench.driver.devices).toEqual([TEXT]);
  bench.run(bench.linux.startSupplicant());
  expect(asked.slice(2)).toEqual([
    [1, QUERY, 0],
    [1, LIST, 16],
  ]);
  bench.run(bench.linux.supplicant?.process.exit() ?? bench.linux.remove());
  bench.run(bench.linux.startSupplicant());
  expect(asked).toHaveLength(4);
  // Nothing of the enumeration is kept.
  expect([...bench.world.registered]).toHaveLength(1);
});

const commands = (capabilities: number, devices: readonly EmmcRpmb[]): number[] => {
  const { bench, asked } = enumerating({ capabilities, kernel: { rpmb: devices } });
  bench.probed();
  return asked.map(([command = -1]) => command);
};

test("SMC-9.P12: RPMB devices of the kernel are a third reason, where the secure world probes them", () => {
  const rpmb = [new EmmcRpmb({ cid: new Uint8Array(16), sizeMultiplier: 1 })];
  const { DYNAMIC_SHM, MEMREF_NULL, RPMB_PROBE } = SEC_CAP;
  expect(commands(DYNAMIC_SHM | MEMREF_NULL | RPMB_PROBE, rpmb)).toEqual([0, 0, 2, 2]);
  expect(commands(DYNAMIC_SHM | MEMREF_NULL | RPMB_PROBE, [])).toEqual([0, 0]);
  expect(commands(DYNAMIC_SHM | MEMREF_NULL, rpmb)).toEqual([0, 0]);
});

test("SMC-9.P12: a secure world without the pseudo-TA is no error", () => {
  const bench = new Bench().probed();
  expect(bench.driver.devices).toEqual([]);
});
