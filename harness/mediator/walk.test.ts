import { expect, test } from "@jest/globals";
import { AccessRecorder, type Ipa, MAPPING, type Pa } from "../machine/index.ts";
import {
  ATTR_TMEM_OUTPUT_NONCONTIG,
  MSG_CMD,
  OPTEE_SMC,
  SMC_RETURN,
  TEEC,
  encodePageList,
} from "../optee-abi/index.ts";
import { OWN_COOKIE_HIGH } from "./cookies.ts";
import type { RuleSetName } from "./contract.ts";
import { GuestKit, RAM, tmem } from "./testkit/guest-kit.ts";

const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const OOM = TEEC.TEEC_ERROR_OUT_OF_MEMORY;

interface Outcome {
  readonly a0: number;
  readonly ret: number;
  readonly origin: number;
}

/** Sends one INVOKE with one reference; the message's result, 0 when the secure world was reached. */
function send(kit: GuestKit, pointer: bigint, size: number | bigint, cookie = 1n): Outcome {
  const at = kit.put({ cmd: MSG_CMD.INVOKE_COMMAND, params: [tmem(pointer, size, cookie)] });
  const a0 = kit.call(at).get(0);
  const { ret, ret_origin: origin } = kit.get(at);
  return { a0, ret, origin };
}

const refused = (ret: number): Outcome => ({ a0: SMC_RETURN.OK, ret, origin: 2 });
const passed: Outcome = { a0: SMC_RETURN.OK, ret: 0, origin: 3 };

test("MED-060, MED-0.MAX_PAGES_PER_BUFFER: the page count is that of size and offset together, 129 pages at most under xen", () => {
  const kit = new GuestKit({ rules: "xen" });
  const { pointer } = kit.list(131);
  expect(send(kit, pointer, 1)).toEqual(passed);
  expect(send(kit, pointer, 129 * 4096)).toEqual(passed);
  expect(send(kit, pointer + 1n, 129 * 4096)).toEqual(refused(OOM));
  expect(send(kit, pointer + 1n, 129 * 4096 - 1)).toEqual(passed);
  expect(send(kit, pointer, 129 * 4096 + 1)).toEqual(refused(OOM));
});

test("MED-060: strict has no limit for one buffer below the total of 16,384 pages", () => {
  const kit = new GuestKit();
  const page = kit.page();
  const pointer = kit.listOf(Array.from({ length: 2000 }, () => page));
  expect(send(kit, pointer, 2000 * 4096)).toEqual(passed);
  expect(kit.pins(page)).toBe(0);
  expect(send(kit, pointer, 16_385 * 4096)).toEqual(refused(OOM));
});

test("MED-061: no memory for the mediator's list is OUT_OF_MEMORY and nothing stays", () => {
  let left = 1;
  const kit = new GuestKit({
    failAllocation: (what) => what === "page-list" && (left -= 1) < 0,
  });
  const page = kit.page();
  const pointer = kit.listOf(Array.from({ length: 512 }, () => page));
  expect(send(kit, pointer, 512 * 4096)).toEqual(refused(OOM));
  expect(kit.mediator.heapPages).toBe(0);
  expect(kit.vm.usage).toMatchObject({ buffers: 0, pages: 0 });
});

test("MED-062, MED-0.MAX_SHM_BUFFERS: 16 buffers fit under xen, the next is OUT_OF_MEMORY; a cookie is used once", () => {
  const kit = new GuestKit({ rules: "xen" });
  for (let cookie = 1; cookie <= 15; cookie += 1) {
    const { at } = kit.register(BigInt(cookie));
    kit.call(at);
    expect(kit.get(at).ret).toBe(0);
  }
  const { pointer } = kit.list(1);
  expect(send(kit, pointer, 1, 15n)).toEqual(refused(BAD));
  expect(send(kit, pointer, 1, 16n)).toEqual(passed);
  kit.call(kit.register(16n).at);
  expect(kit.vm.usage?.buffers).toBe(16);
  expect(send(kit, pointer, 1, 17n)).toEqual(refused(OOM));
});

test("MED-062: failed book-keeping changes no counter", () => {
  const kit = new GuestKit({ failAllocation: (what) => what === "buffer" });
  const { pointer } = kit.list(1);
  expect(send(kit, pointer, 4096)).toEqual(refused(OOM));
  expect(kit.vm.usage).toMatchObject({ buffers: 0, pages: 0 });
  expect(kit.mediator.heapPages).toBe(0);
});

test("MED-062: cookies are opaque: all 64 bits count", () => {
  const kit = new GuestKit();
  for (const cookie of [
    0xffff_0000_1234_5678n,
    0xffff_0001_1234_5678n,
    0n,
    0xffff_ffff_ffff_ffffn,
  ]) {
    const { at } = kit.register(cookie);
    kit.call(at);
    expect(kit.get(at).ret).toBe(0);
  }
  expect(kit.vm.usage?.buffers).toBe(4);
});

const KINDS = ["ramRo", "mmio", "grant", "foreign"] as const;

test.each(KINDS)("MED-063: a data page that is %s is refused and nothing stays pinned", (kind) => {
  const kit = new GuestKit();
  const { pointer, pages } = kit.list(4);
  const victim = pages[2] ?? 0;
  const frame = kit.machine(victim) / 4096;
  kit.vm.space.stage2.map(victim / 4096, frame, MAPPING[kind]);
  expect(send(kit, pointer, 4 * 4096)).toEqual(refused(BAD));
  expect(kit.pins(pages[0] ?? 0)).toBe(0);
  expect(kit.vm.usage).toMatchObject({ buffers: 0, pages: 0 });
});

test.each(KINDS)("MED-063: a list page that is %s is refused", (kind) => {
  const kit = new GuestKit();
  const { pointer } = kit.list(1);
  const page = Number(pointer) / 4096;
  kit.vm.space.stage2.map(page, kit.vm.space.stage2.frame(page), MAPPING[kind]);
  expect(send(kit, pointer, 4096)).toEqual(refused(BAD));
});

test("MED-063: pages outside the guest are refused wherever they are named", () => {
  const kit = new GuestKit();
  const other = kit.addVm();
  const theirs = kit.machine(RAM, other);
  for (const page of [0, RAM - 4096, theirs, 0x2000_0000_0000, 2 ** 51]) {
    expect(send(kit, kit.listOf([page]), 4096)).toEqual(refused(BAD));
    expect(send(kit, BigInt(page), 4096)).toEqual(page === 0 ? passed : refused(BAD));
  }
  expect(send(kit, 0xffff_ffff_ffff_f000n, 4096)).toEqual(refused(BAD));
});

test("MED-063: every data page is pinned until the call ends, once for each time it is named", () => {
  const kit = new GuestKit();
  const [one, two] = [kit.page(), kit.page()];
  const pointer = kit.listOf([one, two, one]);
  let during: number[] = [];
  let reasons: string[] = [];
  kit.port.steps.push((registers) => {
    during = [kit.pins(one), kit.pins(two), kit.pins(Number(pointer))];
    reasons = kit.mediator.frames.records(kit.vm.space.owner).map((record) => record.reason);
    registers.set(0, SMC_RETURN.OK);
  });
  send(kit, pointer, 3 * 4096);
  expect(during).toEqual([2, 1, 0]);
  expect(reasons).toEqual(["temporary shared memory"]);
  expect([kit.pins(one), kit.pins(two)]).toEqual([0, 0]);
});

test("MED-064: the secure world gets a chained list of machine pages that the guest never made", () => {
  const kit = new GuestKit();
  const pages = Array.from({ length: 700 }, () => kit.page());
  const pointer = kit.listOf(pages);
  let first: bigint[] = [];
  let second: bigint[] = [];
  kit.port.steps.push((registers, port) => {
    const list = port.shadow().number(0, 1);
    first = port.words(list, 512);
    second = port.words(Number(first[511]), 189);
    registers.set(0, SMC_RETURN.OK);
  });
  send(kit, pointer, 700 * 4096);
  const machine = pages.map((page) => BigInt(kit.machine(page)));
  expect(first.slice(0, 511)).toEqual(machine.slice(0, 511));
  expect(second).toEqual(machine.slice(511));
  expect(kit.mediator.frames.has(Number(first[511]) / 4096)).toBe(false);
});

test.each(["xen", "strict", "kvm"] as const)(
  "MED-065, MED-084: buf_ptr becomes the mediator's list with the guest's offset; temporary memory has a cookie that no guest can name, under %s",
  (rules) => {
    const kit = new GuestKit({ rules });
    const { pointer } = kit.list(2, 0x123);
    const params: bigint[][] = [];
    const cookies = [0xfeed_0000_0001n, 0xfeed_0000_0001n];
    for (const cookie of cookies) {
      kit.port.steps.push((registers, port) => {
        params.push(([0, 1, 2, 3] as const).map((word) => port.shadow().big(0, word)));
        registers.set(0, SMC_RETURN.OK);
      });
      send(kit, pointer, 4096, cookie);
    }
    for (const [attr, buffer = 0n, size] of params) {
      expect([attr, size]).toEqual([BigInt(ATTR_TMEM_OUTPUT_NONCONTIG), 4096n]);
      expect(buffer & 0xfffn).toBe(0x123n);
      expect(buffer >> 36n).toBe(2n);
    }
    const seen = params.map(([, , , cookie = 0n]) => cookie);
    if (rules === "xen") expect(seen).toEqual(cookies);
    else {
      expect(seen.map((cookie) => Number(cookie >> 32n))).toEqual([
        OWN_COOKIE_HIGH,
        OWN_COOKIE_HIGH,
      ]);
      expect(new Set(seen).size).toBe(2);
    }
  },
);

test("MED-066: the low 12 bits of entries and of the link are dropped", () => {
  const kit = new GuestKit();
  const pages = Array.from({ length: 512 }, () => kit.page() + 0x567);
  const pointer = kit.listOf(pages);
  const link = new BigUint64Array(
    kit.vm.conduit.memory.read((Number(pointer) + 511 * 8) as Ipa, 8).slice().buffer,
  );
  link[0] = (link[0] ?? 0n) | 0xabcn;
  kit.vm.conduit.memory.write((Number(pointer) + 511 * 8) as Ipa, new Uint8Array(link.buffer));
  let entry = 0n;
  kit.port.steps.push((registers, port) => {
    entry = port.words(port.shadow().number(0, 1), 1)[0] ?? 0n;
    registers.set(0, SMC_RETURN.OK);
  });
  expect(send(kit, pointer, 512 * 4096)).toMatchObject({ a0: SMC_RETURN.OK });
  expect(entry).toBe(BigInt(kit.machine((pages[0] ?? 0) - 0x567)));
});

test("MED-067: no pages at all is OUT_OF_MEMORY under xen and BAD_PARAMETERS under strict", () => {
  for (const [rules, ret] of [
    ["xen", OOM],
    ["strict", BAD],
  ] as const) {
    const kit = new GuestKit({ rules });
    expect(send(kit, kit.list(1).pointer, 0)).toEqual(refused(ret));
    expect(send(kit, kit.list(1, 5).pointer, 0)).toEqual(passed);
  }
});

test("MED-067: sizes that alias in 32 bits of pages or wrap in 64 pass under xen, not under strict", () => {
  const sizes: readonly [bigint, number][] = [
    [2n ** 44n + 4096n, OOM],
    [2n ** 63n, OOM],
    [2n ** 64n - 8n, BAD],
  ];
  for (const [size, ret] of sizes) {
    const xen = new GuestKit({ rules: "xen" });
    const pointer = xen.list(2, 16).pointer;
    expect(send(xen, pointer, size)).toEqual(passed);
    const strict = new GuestKit();
    expect(send(strict, strict.list(2, 16).pointer, size)).toEqual(refused(ret));
  }
});

test("MED-068: a failed walk costs xen's guest quota for good and strict's nothing", () => {
  for (const [rules, lost] of [
    ["xen", 7],
    ["strict", 0],
  ] as const) {
    const kit = new GuestKit({ rules });
    const pages = Array.from({ length: 10 }, () => kit.page());
    pages[3] = 0x1000;
    expect(send(kit, kit.listOf(pages), 10 * 4096)).toEqual(refused(BAD));
    expect(kit.vm.usage).toMatchObject({ buffers: 0, pages: lost });
    expect(kit.mediator.frames.pinnedFrames()).toBe(0);
    expect(kit.mediator.heapPages).toBe(0);
  }
});

test("MED-067: strict tells sizes that wrap from sizes that are only too large", () => {
  const kit = new GuestKit();
  const pointer = kit.list(1, 0x20).pointer;
  const cases: readonly [bigint, number][] = [
    [2n ** 32n - 1n, OOM],
    [2n ** 64n - 0x21n, OOM],
    [2n ** 64n - 0x20n, BAD],
    [2n ** 64n - 1n, BAD],
    [2n ** 52n, OOM],
    [2n ** 52n - 1n, OOM],
  ];
  for (const [size, ret] of cases) expect(send(kit, pointer, size)).toEqual(refused(ret));
});

test("MED-069: a list that links to itself ends with the page count", () => {
  const kit = new GuestKit();
  const page = kit.page();
  const list = kit.page();
  const words = new BigUint64Array(512).fill(BigInt(page));
  words[511] = BigInt(list);
  kit.vm.conduit.memory.write(list as Ipa, new Uint8Array(words.buffer));
  const recorder = new AccessRecorder();
  kit.port.sparse.probe = recorder.probe;
  expect(send(kit, BigInt(list), 5000 * 4096)).toEqual(passed);
  const machine = kit.machine(list) as Pa;
  expect(recorder.touching(machine, 4096, "read", "mediator")).toHaveLength(10);
  expect(kit.pins(page)).toBe(0);
});

test.each([
  [0x40_0000_0000, "above 4 GiB"],
  [2 ** 43, "above 8 TiB"],
  [2 ** 51, "at the top"],
])("MED-063: RAM at %i, %s, is walked like any other, first and second time", (base) => {
  const kit = new GuestKit();
  const made = kit.mediator.createVm({ ram: { base, size: 0x100_0000 } });
  if (!made.ok) throw new RangeError(made.reason);
  const vm = made.value;
  const pages = Array.from({ length: 600 }, (_, index) => base + (((index * 7) % 600) + 16) * 4096);
  const lists = [base + 0x80_0000, base + 0x80_2000];
  const into = lists.map(() => new Uint8Array(4096));
  encodePageList(pages, lists, into);
  for (const [index, bytes] of into.entries()) {
    vm.conduit.memory.write(lists[index] as Ipa, bytes);
  }
  const at = base + 0x90_0000;
  const params = [tmem(BigInt(lists[0] ?? 0), 600 * 4096, 1n)];
  kit.put({ cmd: 1, params }, at, vm);
  const machine = pages.map((page) => BigInt(kit.machine(page, vm)));
  for (let turn = 0; turn < 3; turn += 1) {
    let listed: bigint[] = [];
    kit.port.steps.push((registers, port) => {
      const first = port.words(port.shadow().number(0, 1), 512);
      listed = [...first.slice(0, 511), ...port.words(Number(first[511]), 89)];
      registers.set(0, SMC_RETURN.OK);
    });
    kit.smc([OPTEE_SMC.CALL_WITH_ARG, Math.floor(at / 2 ** 32), at >>> 0], vm);
    expect(listed).toEqual(machine);
  }
  expect(kit.mediator.frames.pinnedFrames()).toBe(0);
});

test("MED-063: what was walked before is not believed after the page has gone or changed", () => {
  const kit = new GuestKit();
  const { pointer, pages } = kit.list(4);
  expect(send(kit, pointer, 4 * 4096)).toEqual(passed);
  const page = (pages[1] ?? 0) as Ipa;
  kit.vm.space.protect(page, MAPPING.ramRo);
  expect(send(kit, pointer, 4 * 4096)).toEqual(refused(BAD));
  kit.vm.space.protect(page, MAPPING.ramRw);
  expect(send(kit, pointer, 4 * 4096)).toEqual(passed);
  const old = kit.machine(page);
  kit.vm.space.balloon(page);
  expect(send(kit, pointer, 4 * 4096)).toEqual(refused(BAD));
  kit.mediator.frames.claim(old / 4096, 99);
  kit.vm.space.refill(page);
  let entry = 0n;
  kit.port.steps.push((registers, port) => {
    entry = port.words(port.shadow().number(0, 1), 2)[1] ?? 0n;
    registers.set(0, SMC_RETURN.OK);
  });
  send(kit, pointer, 4 * 4096);
  expect(Number(entry)).toBe(kit.machine(page));
  expect(Number(entry)).not.toBe(old);
});

test("a page with 65,535 pins is refused once more, and every pin is given back", () => {
  const kit = new GuestKit();
  const page = kit.page();
  const frame = kit.machine(page) / 4096;
  for (let count = 0; count < 65_534; count += 1) kit.mediator.frames.pin(frame);
  expect(send(kit, kit.listOf([page]), 4096)).toEqual(passed);
  expect(send(kit, kit.listOf([page, page]), 8192)).toEqual(refused(BAD));
  expect(kit.pins(page)).toBe(65_534);
});

test("strict refuses cookies that only the mediator may use; xen knows none", () => {
  const cookie = BigInt(OWN_COOKIE_HIGH) << 32n;
  const outcome = (rules: RuleSetName, attr: bigint): number => {
    const kit = new GuestKit({ rules });
    const at = kit.put({ cmd: 1, params: [{ attr, a: 0n, b: 1n, c: cookie + 1n }] });
    kit.call(at);
    return kit.get(at).ret;
  };
  for (const attr of [0x5n, 0x6n, 0x7n, 0x9n, 0x20an]) {
    expect(outcome("strict", attr)).toBe(BAD);
    expect(outcome("xen", attr)).toBe(0);
  }
  expect(outcome("strict", 0x3n)).toBe(0);
});

/** The result of an invocation with one parameter of that attribute and cookie. */
function outcomeOf(rules: RuleSetName, attr: bigint, cookie: bigint): number {
  const kit = new GuestKit({ rules });
  const at = kit.put({ cmd: 1, params: [{ attr, a: 0n, b: 1n, c: cookie }] });
  kit.call(at);
  return kit.get(at).ret;
}

test("MED-050, MED-091: strict refuses a reference by cookie 0, under which OP-TEE keeps the shadow", () => {
  for (const attr of [0x5n, 0x6n, 0x7n]) {
    expect(outcomeOf("strict", attr, 0n)).toBe(BAD);
    expect(outcomeOf("xen", attr, 0n)).toBe(0);
    expect([outcomeOf("strict", attr, 1n), outcomeOf("strict", attr, 1n << 32n)]).toEqual([0, 0]);
  }
  // A NULL reference names nothing.
  expect(outcomeOf("strict", 0x9n, 0n)).toBe(0);
});

test("the list page is read once, and what it says later changes nothing", () => {
  const kit = new GuestKit();
  const { pointer, pages } = kit.list(3);
  const machine = kit.machine(Number(pointer)) as Pa;
  const own = kit.listOf([kit.page()]);
  let readOnce = false;
  // As soon as the mediator has fetched the list, the guest puts other pages into it.
  const recorder = new AccessRecorder((access) => {
    if (readOnce)
      kit.port.sparse.poke(machine, kit.port.sparse.peek(kit.machine(Number(own)) as Pa, 8));
    readOnce ||= access.at === machine;
  });
  kit.port.sparse.probe = recorder.probe;
  let listed: bigint[] = [];
  kit.port.steps.push((registers, port) => {
    listed = port.words(port.shadow().number(0, 1), 3);
    registers.set(0, SMC_RETURN.OK);
  });
  send(kit, pointer, 3 * 4096);
  expect(listed).toEqual(pages.map((page) => BigInt(kit.machine(page))));
  expect(Math.max(...recorder.timesPerByte(machine, 4096, "read", "mediator"))).toBe(1);
});
