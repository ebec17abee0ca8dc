import { expect, test } from "@jest/globals";
import { AccessRecorder, type Ipa, MAPPING, type Pa } from "../machine/index.ts";
import { OPTEE_SMC, SMC_RETURN, TEEC, encodePageList } from "../optee-abi/index.ts";
import type { Vm } from "./contract.ts";
import { GuestKit, RAM, tmem } from "./testkit/guest-kit.ts";
import { HEAP, ScriptedPort } from "./testkit/scripted-port.ts";

const GIB = 2 ** 30;

/**
 * Sends a list of `pages`, written into the guest's pages `lists`, in a message at `at`: what the
 * secure world reads in its list, or the code of the refusal.
 */
function listed(
  kit: GuestKit,
  vm: Vm,
  pages: readonly number[],
  [at, ...lists]: readonly [number, ...number[]],
): number[] | string {
  const into = lists.map(() => new Uint8Array(4096));
  encodePageList(pages, lists, into);
  for (const [index, bytes] of into.entries()) {
    vm.conduit.memory.write(lists[index] as Ipa, bytes);
  }
  const params = [tmem(BigInt(lists[0] ?? 0), pages.length * 4096, 1n)];
  kit.put({ cmd: 1, params }, at, vm);
  let seen: number[] | undefined;
  kit.port.steps.push((registers, port) => {
    let list = port.shadow().number(0, 1);
    seen = [];
    while (seen.length < pages.length) {
      const words = port.words(list, 512).map(Number);
      seen.push(...words.slice(0, Math.min(511, pages.length - seen.length)));
      list = words[511] ?? 0;
    }
    registers.set(0, SMC_RETURN.OK);
  });
  kit.smc([OPTEE_SMC.CALL_WITH_ARG, Math.floor(at / 2 ** 32), at >>> 0], vm);
  kit.port.steps.length = 0;
  return seen ?? kit.get(at, vm).ret.toString(16);
}

const REFUSED = TEEC.TEEC_ERROR_BAD_PARAMETERS.toString(16);

function vmAt(kit: GuestKit, base: number, size = 0x100_0000): Vm {
  const made = kit.mediator.createVm({ ram: { base, size } });
  if (!made.ok) throw new RangeError(made.reason);
  return made.value;
}

const range = (from: number, count: number): number[] =>
  Array.from({ length: count }, (_, index) => from + index * 4096);

test.each([
  ["low in memory", 0x20_0000],
  ["where it usually is", RAM],
  ["above 4 GiB", 5 * GIB],
])("MED-063: every page of a guest whose RAM is %s is found again and again", (_, base) => {
  const kit = new GuestKit();
  const vm = vmAt(kit, base);
  const pages = range(base + 64 * 4096, 2000);
  const machine = pages.map((page) => kit.machine(page, vm));
  const lists = range(base + 4096, 4) as [number, ...number[]];
  for (let turn = 0; turn < 3; turn += 1) {
    const rotated = [...pages.slice(turn), ...pages.slice(0, turn)];
    expect(listed(kit, vm, rotated, [base, ...lists])).toEqual([
      ...machine.slice(turn),
      ...machine.slice(0, turn),
    ]);
  }
});

test("MED-063: an address that only looks like the guest's RAM without its high bits is refused", () => {
  const kit = new GuestKit();
  const page = kit.page();
  const places = [kit.page(), kit.page()] as const;
  expect(listed(kit, kit.vm, [page], places)).toEqual([kit.machine(page)]);
  for (const bit of [32, 36, 39, 43, 44, 45, 51]) {
    expect(listed(kit, kit.vm, [page + 2 ** bit], places)).toBe(REFUSED);
  }
});

test("MED-063: a guest far above 8 TiB has no RAM where the low bits of its addresses point", () => {
  const kit = new GuestKit();
  const base = 2 ** 44 + GIB;
  const vm = vmAt(kit, base);
  const places = [base, base + 4096] as const;
  const page = base + 0x10_0000;
  expect(listed(kit, vm, [page], places)).toEqual([kit.machine(page, vm)]);
  expect(listed(kit, vm, [page - 2 ** 44], places)).toBe(REFUSED);
});

test("MED-063: both words of every address count, next to addresses of other sizes", () => {
  const kit = new GuestKit();
  const low = range(RAM + 0x10_0000, 4);
  const high = low.map((page) => page + 4 * GIB);
  for (const page of high) kit.vm.space.refill(page as Ipa);
  const pages = low.flatMap((page, index) => [high[index] ?? 0, page]);
  const machine = pages.map((page) => kit.machine(page));
  expect(new Set(machine).size).toBe(8);
  const places = [kit.page(), kit.page()] as const;
  for (let turn = 0; turn < 2; turn += 1) {
    expect(listed(kit, kit.vm, pages, places)).toEqual(machine);
  }
});

test("MED-064: the link to the next list page is followed with both its words", () => {
  const kit = new GuestKit();
  const far = RAM + 4 * GIB;
  kit.vm.space.refill(far as Ipa);
  const pages = range(RAM + 0x10_0000, 600);
  expect(listed(kit, kit.vm, pages, [kit.page(), kit.page(), far])).toEqual(
    pages.map((page) => kit.machine(page)),
  );
});

/** A kit whose guests' RAM comes from these windows. */
function kitOn(windows: readonly { readonly base: number; readonly size: number }[]): GuestKit {
  const ram = windows.map((window, index) => ({
    name: `guests ${index}`,
    type: "ram" as const,
    ...window,
  }));
  const port = new ScriptedPort([{ name: "heap", ...HEAP, type: "ram" }, ...ram]);
  return new GuestKit({ port, guests: windows });
}

const MIB = 2 ** 20;

test.each([
  ["one low window", [{ base: 8 * MIB, size: 32 * MIB }]],
  ["a window from address 0 of more than 16 GiB", [{ base: 0, size: 17 * GIB }]],
  [
    "two windows",
    [
      { base: 0x30_0000_0000, size: 8 * MIB },
      { base: 0x38_0000_0000, size: 32 * MIB },
    ],
  ],
])("MED-063: every page is pinned once for each time it is named, with RAM in %s", (_, windows) => {
  const kit = kitOn(windows);
  const pages = [...range(RAM + MIB, 100), ...range(RAM + 12 * MIB, 100)];
  const machine = pages.map((page) => kit.machine(page));
  // The two ends by turns, so that every step is from one part of memory to another.
  const mixed = pages.flatMap((page, index) => [page, pages[199 - index] ?? 0]);
  for (let turn = 0; turn < 3; turn += 1) {
    let pins: number[] = [];
    kit.port.fast.set(OPTEE_SMC.CALL_WITH_ARG, (registers) => {
      pins = machine.map((at) => kit.mediator.frames.pins(at / 4096));
      registers.set(0, SMC_RETURN.OK);
    });
    listed(kit, kit.vm, turn === 1 ? pages : mixed, [RAM, RAM + 4096]);
    expect([...new Set(pins)]).toEqual([turn === 1 ? 1 : 2]);
    kit.port.fast.clear();
    expect(listed(kit, kit.vm, pages, [RAM, RAM + 4096])).toEqual(machine);
    expect(kit.mediator.frames.pinnedFrames()).toBe(0);
  }
});

test("MED-063: with RAM from address 0 on, a page not named before is looked up, not taken for 0", () => {
  const kit = kitOn([{ base: 0, size: 17 * GIB }]);
  const [one, two] = [RAM + MIB, RAM + 2 * MIB];
  const places = [RAM, RAM + 4096] as const;
  expect(listed(kit, kit.vm, [one], places)).toEqual([kit.machine(one)]);
  expect(listed(kit, kit.vm, [two, one], places)).toEqual([two, one].map((at) => kit.machine(at)));
  const many = range(RAM + 3 * MIB, 9);
  expect(listed(kit, kit.vm, many, places)).toEqual(many.map((at) => kit.machine(at)));
});

test("MED-063: a page that would get more pins than it can have is refused, in lists of any length", () => {
  const kit = new GuestKit();
  const [page, other] = [RAM + MIB, RAM + 2 * MIB];
  const frame = kit.machine(page) / 4096;
  const places = [RAM, RAM + 4096] as const;
  listed(kit, kit.vm, [page, other, page, other, page, other, page, other], places);
  for (let count = 0; count < 65_532; count += 1) kit.mediator.frames.pin(frame);
  for (const [times, result] of [
    [3, Array.from({ length: 3 }, () => kit.machine(page))],
    [4, REFUSED],
    [5, REFUSED],
    [12, REFUSED],
  ] as const) {
    const pages = Array.from({ length: times }, () => page);
    expect(listed(kit, kit.vm, pages, places)).toEqual(result);
    expect(kit.mediator.frames.pins(frame)).toBe(65_532);
  }
});

test("MED-045, MED-063, MED-090, MED-102: a page that the machine lets no normal world touch is none of the guest's", () => {
  const secure = { base: 0x38_0000_0000, size: 2 * MIB };
  const port = new ScriptedPort([
    { name: "heap", ...HEAP, type: "ram" },
    { name: "guests", base: 0x30_0000_0000, size: 32 * MIB, type: "ram" },
    { name: "secure", ...secure, type: "ram", secure: true },
  ]);
  const kit = new GuestKit({ port, guests: [{ base: 0x30_0000_0000, size: 32 * MIB }, secure] });
  const at = RAM + MIB;
  const own = kit.vm.space.stage2.frame(at / 4096);
  const map = (frame: number): void => kit.vm.space.stage2.map(at / 4096, frame, MAPPING.ramRw);
  map(secure.base / 4096);
  expect(kit.call(at).get(0)).toBe(SMC_RETURN.EBADADDR);
  const message = kit.put({ cmd: 1, params: [tmem(BigInt(at), 4096, 1n)] });
  kit.call(message);
  expect(kit.get(message).ret).toBe(TEEC.TEEC_ERROR_BAD_PARAMETERS);
  expect(port.seen).toEqual([]);
  map(own);
  kit.put({ cmd: 1 }, at);
  port.steps.push((registers) => {
    map(secure.base / 4096);
    registers.set(0, SMC_RETURN.OK);
  });
  expect(kit.call(at).get(0)).toBe(SMC_RETURN.EBADADDR);
  expect(kit.mediator.frames.pinnedFrames()).toBe(0);
  const argument = kit.withRpcArgument(0xc1);
  kit.vm.space.stage2.map(argument.page / 4096, secure.base / 4096, MAPPING.ramRw);
  // The request is lost, so the call goes on and is over.
  expect(kit.ask(argument, { cmd: 3 }).get(0)).toBe(SMC_RETURN.OK);
  expect(port.message(argument.shadow).ret).toBe(TEEC.TEEC_ERROR_GENERIC);
});

test("MED-064: a list of any length is whole after a short one", () => {
  const kit = new GuestKit();
  const places = [RAM, RAM + 4096] as const;
  for (const count of [1, 60, 17, 18, 34, 1, 35, 16, 300, 17]) {
    const pages = range(RAM + MIB + count * 4096, count);
    expect(listed(kit, kit.vm, pages, places)).toEqual(pages.map((at) => kit.machine(at)));
  }
  expect(kit.mediator.frames.pinnedFrames()).toBe(0);
});

test("MED-064: of the mediator's list just the entries in use are written", () => {
  const kit = new GuestKit();
  const pages = range(RAM + MIB, 3);
  const recorder = new AccessRecorder();
  kit.port.sparse.probe = recorder.probe;
  let list = 0;
  kit.port.steps.push((registers, port) => {
    list = port.shadow().number(0, 1);
    registers.set(0, SMC_RETURN.OK);
  });
  kit.call(kit.put({ cmd: 1, params: [tmem(kit.listOf(pages), 3 * 4096, 1n)] }));
  const times = recorder.timesPerByte(list as Pa, 4096, "write", "mediator");
  expect([...times].lastIndexOf(1)).toBe(23);
});
