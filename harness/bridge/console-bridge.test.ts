import { expect, test } from "@jest/globals";
import { budget, Deadline, LockstepError, Random } from "../base/index.ts";
import { type Pa, Registers } from "../machine/index.ts";
import { ConsoleBridge } from "./console-bridge.ts";
import { LoaderPrompt } from "./loader-prompt.ts";
import { RamWindow } from "./ram-window.ts";
import { FAKE_PROGRAM, FakeLoader, type FakeLoaderOptions } from "./testing/fake-loader.ts";

const BASE = 0x4800_0000;
const DATA = (BASE + 0x80_0000) as Pa;
const soon = (): Deadline => Deadline.after(60_000, "the test");

/** Answers that tell the call: every register plus its number, and x5 changed for odd calls. */
const telling = (x: readonly bigint[]): readonly bigint[] =>
  x.map((value, index) =>
    index < 4
      ? BigInt.asUintN(64, value + 0x1_0000_0000n * BigInt(index + 1))
      : index === 5 && x[1] === 1n
        ? 77n
        : value,
  );

async function start(
  options: Partial<FakeLoaderOptions> = {},
): Promise<{ loader: FakeLoader; bridge: ConsoleBridge }> {
  const loader = new FakeLoader({ smc: telling, ...options });
  const prompt = new LoaderPrompt(loader, { prompt: /=> $/, silenceMs: 20 });
  const bridge = await ConsoleBridge.start(
    {
      prompt,
      window: new RamWindow({ base: BASE, size: 0x100_0000 }, "board.yaml"),
      program: FAKE_PROGRAM,
      lineLimit: 480,
      smcMs: 100,
    },
    soon(),
  );
  return { loader, bridge };
}

async function failure(work: Promise<unknown>): Promise<LockstepError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof LockstepError) return error;
  throw new Error("it did not fail as it should", { cause: error });
}

const call = (words: readonly bigint[]): Registers => {
  const registers = new Registers();
  for (const [index, word] of words.entries()) registers.set64(index, word);
  return registers;
};
const values = (registers: Registers): bigint[] =>
  Array.from({ length: 8 }, (_, index) => registers.get64(index));

test("an SMC: x0 to x3 come back, x4 to x7 where they changed", async () => {
  const { bridge, loader } = await start();
  const plain = call([0xb200_0009n, 2n, 0n, 0xffff_ffff_ffff_ffffn, 4n, 5n, 6n, 7n]);
  await bridge.smc(plain, soon());
  expect(values(plain)).toEqual([
    0x1_b200_0009n,
    0x2_0000_0002n,
    0x3_0000_0000n,
    0x3_ffff_ffffn,
    4n,
    5n,
    6n,
    7n,
  ]);
  const changed = call([1n, 1n, 0n, 0n, 4n, 5n]);
  await bridge.smc(changed, soon());
  expect(values(changed).slice(4)).toEqual([4n, 77n, 0n, 0n]);
  expect(loader.executed).toHaveLength(2);
});

test("memory of any length at any address is what was written", async () => {
  const { bridge, loader } = await start();
  const random = new Random(3);
  for (const [offset, length] of [
    [0, 1],
    [3, 21],
    [8, 4096],
    [4093, 2500],
  ] as const) {
    const bytes = Uint8Array.from({ length }, () => random.below(256));
    const at = (DATA + offset) as Pa;
    await bridge.write(at, bytes, soon());
    expect(loader.bytes(at, length).equals(bytes)).toBe(true);
    expect(Buffer.from(await bridge.read(at, length, soon())).equals(bytes)).toBe(true);
  }
});

test.each([1, 3, 10])(
  "%i in a thousand characters wrong: every answer right, every SMC carried out once",
  async (noise) => {
    for (let seed = 1; seed <= budget(2, 60); seed += 1) {
      const { bridge, loader } = await start({ noise, seed });
      const random = new Random(seed);
      const asked: bigint[][] = [];
      for (let turn = 0; turn < 6; turn += 1) {
        const words = Array.from({ length: 8 }, () => BigInt(random.u32()));
        asked.push(words);
        const registers = call(words);
        await bridge.smc(registers, soon());
        expect(values(registers)).toEqual(telling(words));
      }
      expect(loader.executed).toEqual(asked);
      const bytes = Uint8Array.from({ length: 300 }, () => random.below(256));
      await bridge.write(DATA, bytes, soon());
      expect(loader.bytes(DATA, bytes.length).equals(bytes)).toBe(true);
      expect(Buffer.from(await bridge.read(DATA, 300, soon())).equals(bytes)).toBe(true);
    }
  },
  120_000,
);

test("a boot loader without compound commands will do", async () => {
  const { bridge } = await start({ plain: true });
  const registers = call([5n]);
  await bridge.smc(registers, soon());
  expect(registers.get64(0)).toBe(0x1_0000_0005n);
});

test("a boot loader without go is named as such", async () => {
  const error = await failure(start({ without: ["go"] }));
  expect(error).toMatchObject({ exitCode: 3, message: "the boot loader lacks go" });
});

test("an SMC that never returns is a crash of the target", async () => {
  const { bridge } = await start({ smc: () => "never returns" });
  expect(await failure(bridge.smc(call([1n]), soon()))).toMatchObject({ exitCode: 5 });
});

test("a board that resets in the middle is a crash of the target", async () => {
  const { bridge, loader } = await start();
  const pending = failure(bridge.write(DATA, new Uint8Array(4096).fill(7), soon()));
  loader.lose("unexpected boot banner: U-Boot 2025.01");
  expect(await pending).toMatchObject({
    exitCode: 5,
    seen: "unexpected boot banner: U-Boot 2025.01",
  });
});

test("a wire that carries nothing right is an error of the laboratory", async () => {
  const error = await failure(start({ noise: 400 }));
  expect([3, 5]).toContain(error.exitCode);
});

test("addresses outside the board's free RAM are refused before anything is typed", async () => {
  const { bridge, loader } = await start();
  const before = loader.written;
  for (const at of [BASE - 1, BASE + 0x100_0000 - 3, 0]) {
    await expect(bridge.write(at as Pa, new Uint8Array(8), soon())).rejects.toThrow(RangeError);
    await expect(bridge.read(at as Pa, 8, soon())).rejects.toThrow(/outside the board's free RAM/);
  }
  expect(loader.written).toBe(before);
});

test.each([
  { base: 0, size: 0x1000 },
  { base: 0x4800_0800, size: 0x1000 },
  { base: 0x4800_0000, size: 0 },
  { base: 2 ** 52 - 4096, size: 0x2000 },
])("free RAM that is not whole pages is an error of the board file: %o", (free) => {
  expect(() => new RamWindow(free, "board.yaml")).toThrow(/whole pages/);
});

test.each(["loady", "loadx"])(
  "with %s a page goes as a file, and a line that is too bad for that is written as ever",
  async (command) => {
    const random = new Random(5);
    const bytes = Uint8Array.from({ length: 4096 }, () => random.below(256));
    const clean = await start({ with: [command] });
    await clean.bridge.write(DATA, bytes, soon());
    expect(clean.loader.bytes(DATA, 4096).equals(bytes)).toBe(true);
    expect(clean.loader.loaded).toBe(4096);
    const few = bytes.subarray(0, 100);
    await clean.bridge.write((DATA + 4096) as Pa, few, soon());
    expect(clean.loader.bytes(DATA + 4096, 100).equals(few)).toBe(true);
    expect(clean.loader.loaded).toBe(4096);

    // With these the line swallows so much of what ends a transfer that its receiver stays.
    for (const seed of [5, 14, 17, 21, 46].slice(0, budget(2, 5))) {
      const noisy = await start({ with: [command], noise: 10, seed });
      await noisy.bridge.write(DATA, bytes.subarray(0, 1536), soon());
      expect(noisy.loader.bytes(DATA, 1536).equals(bytes.subarray(0, 1536))).toBe(true);
    }
  },
  60_000,
);
