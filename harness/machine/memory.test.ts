import { expect, test } from "@jest/globals";
import { AccessRecorder } from "./access.ts";
import { type Pa, ipa, ipaFromWords, pa } from "./address.ts";
import { SparseMemory } from "./memory.ts";
import type { MmioDevice } from "./region.ts";

const RAM = 0x10_0000_0000;
const at = (address: number): Pa => address as Pa;

function machine(device?: MmioDevice): SparseMemory {
  return new SparseMemory([
    { name: "rom", base: 0, size: 0x2000, type: "rom", contents: Uint8Array.of(1, 2, 3) },
    { name: "ram", base: RAM, size: 0x4_0000_0000, type: "ram" },
    { name: "secure", base: 0xe00_0000, size: 0x2000, type: "ram", secure: true },
    { name: "secure rom", base: 0xf00_0000, size: 0x1000, type: "rom", secure: true },
    {
      name: "uart",
      base: 0x900_0000,
      size: 0x1000,
      type: "mmio",
      ...(device === undefined ? {} : { device }),
    },
  ]);
}

test("RAM keeps what is written across pages and is zero where nothing was", () => {
  const view = machine().view("normal");
  const bytes = Uint8Array.from({ length: 10_000 }, (_, index) => index % 251);
  view.write(at(RAM + 4000), bytes);
  expect(view.read(at(RAM + 4000), 10_000)).toEqual(bytes);
  expect(view.read(at(RAM + 0x3_0000_0000), 8)).toEqual(new Uint8Array(8));
});

test("the normal world is kept out of secure memory, the secure world is not", () => {
  const memory = machine();
  const [normal, secure] = [memory.view("normal"), memory.view("secure")];
  expect(() => normal.read(at(0xe00_0000), 1)).toThrow(/is secure/);
  expect(() => normal.write(at(0xe00_0000), Uint8Array.of(1))).toThrow(RangeError);
  expect(normal.page(at(0xe00_0000))).toBeUndefined();
  secure.write(at(0xe00_0000), Uint8Array.of(7));
  expect(secure.page(at(0xe00_0123))?.[0]).toBe(7);
});

test("ROM is read and never written, and is no page to write to", () => {
  const view = machine().view("normal");
  expect(view.read(at(0), 4)).toEqual(Uint8Array.of(1, 2, 3, 0));
  expect(() => view.write(at(1), Uint8Array.of(9))).toThrow(/read-only/);
  expect(view.page(at(0))).toBeUndefined();
});

test("a write that would leave its region changes nothing at all", () => {
  const view = machine().view("normal");
  const end = RAM + 0x4_0000_0000 - 4;
  expect(() => view.write(at(end), new Uint8Array(8).fill(1))).toThrow(/nothing is there/);
  expect(view.read(at(end), 4)).toEqual(new Uint8Array(4));
});

test("where nothing is, every access is refused with who, what and where", () => {
  const view = machine().view("normal", "vm 3");
  expect(() => view.read(at(0x5000), 4)).toThrow(
    "vm 3: read at 0x5000 by the normal world: nothing is there",
  );
  expect(view.page(at(0x5000))).toBeUndefined();
});

test("a device sees aligned accesses of 1, 2, 4 and 8 bytes with their values", () => {
  const seen: string[] = [];
  const view = machine({
    read: (offset, size) => BigInt(offset * 16 + size),
    write: (offset, size, value) => seen.push(`${offset} ${size} ${value.toString(16)}`),
  }).view("normal");
  view.write(at(0x900_0008), Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 0xff));
  view.write(at(0x900_0003), Uint8Array.of(9));
  expect(seen).toEqual(["8 8 ff07060504030201", "3 1 9"]);
  expect(view.read(at(0x900_0004), 4)).toEqual(Uint8Array.of(0x44, 0, 0, 0));
  expect(() => view.read(at(0x900_0002), 4)).toThrow(/aligned/);
  expect(() => view.read(at(0x900_0000), 3)).toThrow(/aligned/);
  expect(view.page(at(0x900_0000))).toBeUndefined();
  expect(() => machine().view("normal").read(at(0x900_0000), 4)).toThrow(/no device/);
});

test("page() shows memory as it is, and zero() gives pages back", () => {
  const memory = machine();
  const view = memory.view("normal");
  const page = view.page(at(RAM + 100));
  page?.fill(5);
  expect(view.read(at(RAM), 2)).toEqual(Uint8Array.of(5, 5));
  view.zero(at(RAM), 8192);
  expect(view.read(at(RAM), 4096)).toEqual(new Uint8Array(4096));
  expect(() => view.zero(at(RAM + 1), 4096)).toThrow(RangeError);
  expect(() => view.zero(at(0), 4096)).toThrow(/read-only/);
  expect(() => view.zero(at(0x900_0000), 4096)).toThrow(/is not RAM/);
});

test("zero() hides what RAM held at the start", () => {
  const memory = new SparseMemory([
    { name: "ram", base: 0, size: 0x1000, type: "ram", contents: Uint8Array.of(9) },
  ]);
  const view = memory.view("normal");
  expect(view.read(at(0), 1)).toEqual(Uint8Array.of(9));
  view.zero(at(0), 4096);
  expect(view.read(at(0), 1)).toEqual(Uint8Array.of(0));
});

test("the probe sees every access with its author before it happens, and can change the bytes", () => {
  const memory = machine();
  const view = memory.view("normal").as("mediator");
  const recorder = new AccessRecorder((access) => {
    if (access.kind === "read") memory.poke(at(RAM), Uint8Array.of(0xaa));
  });
  memory.probe = recorder.probe;
  view.write(at(RAM), Uint8Array.of(1, 2));
  expect(view.read(at(RAM), 2)).toEqual(Uint8Array.of(0xaa, 2));
  view.page(at(RAM + 5));
  view.page(at(RAM + 5), "write");
  view.dirty(at(RAM + 16), 4);
  memory.peek(at(RAM), 1);
  expect(recorder.accesses).toEqual([
    { by: "mediator", kind: "write", at: RAM, length: 2 },
    { by: "mediator", kind: "read", at: RAM, length: 2 },
    { by: "mediator", kind: "read", at: RAM, length: 4096 },
    { by: "mediator", kind: "write", at: RAM + 16, length: 4 },
  ]);
  expect([...recorder.timesPerByte(at(RAM), 3, "read")]).toEqual([2, 2, 1]);
  expect(recorder.touching(at(RAM + 18), 1, "write", "mediator")).toHaveLength(1);
  expect(recorder.touching(at(RAM), 1, "write", "vm 1")).toEqual([]);
  recorder.clear();
  expect(recorder.accesses).toEqual([]);
});

test("what the hook between two accesses does itself is recorded but does not call the hook again", () => {
  const memory = machine();
  const view = memory.view("normal", "guest");
  let calls = 0;
  const recorder = new AccessRecorder(() => {
    calls += 1;
    view.read(at(RAM), 1);
  });
  memory.probe = recorder.probe;
  view.read(at(RAM), 1);
  expect(calls).toBe(1);
  expect(recorder.accesses).toHaveLength(2);
});

test("regions that overlap or are not whole pages are refused", () => {
  const ram = { name: "a", base: 0, size: 0x2000, type: "ram" } as const;
  expect(() => new SparseMemory([ram, { ...ram, name: "b", base: 0x1000 }])).toThrow(/overlap/);
  for (const bad of [
    { ...ram, base: 1 },
    { ...ram, size: 0 },
    { ...ram, size: 100 },
    { ...ram, base: -4096 },
    { ...ram, base: 2 ** 43 - 4096 },
    { ...ram, base: 0.5 },
  ]) {
    expect(() => new SparseMemory([bad])).toThrow(/whole 4 KiB pages/);
  }
});

test("peek and poke pass every check but need something to be there", () => {
  const memory = machine();
  memory.poke(at(0), Uint8Array.of(8));
  expect(memory.peek(at(0), 1)).toEqual(Uint8Array.of(8));
  expect(() => memory.peek(at(0x900_0000), 1)).toThrow(/nothing backs/);
  expect(() => memory.poke(at(0x7000), Uint8Array.of(1))).toThrow(/nothing backs/);
});

test("addresses are integers below 2^52, from words they may be nothing", () => {
  expect(ipa(5)).toBe(5);
  for (const bad of [-1, 0.5, 2 ** 52, Number.NaN]) {
    expect(() => ipa(bad)).toThrow(RangeError);
    expect(() => pa(bad)).toThrow(RangeError);
  }
  expect(ipaFromWords(0xf_ffff, 0xffff_ffff)).toBe(2 ** 52 - 1);
  expect(ipaFromWords(0x10_0000, 0)).toBeUndefined();
});
