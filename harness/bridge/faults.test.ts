import { crc32 } from "node:zlib";
import { afterEach, expect, test } from "@jest/globals";
import { budget, Deadline, type LockstepError, Random } from "../base/index.ts";
import { ConsoleBridge } from "./console-bridge.ts";
import { LoaderPrompt } from "./loader-prompt.ts";
import { RamWindow } from "./ram-window.ts";
import { FAKE_PROGRAM, FakeLoader, type FakeLoaderOptions } from "./testing/fake-loader.ts";
import { RemoteClient } from "./testing/remote-client.ts";
import type { Task, TaskResult } from "./testing/remote-worker.ts";

// What a bad wire can do to a model in a worker, whose machine the main thread reaches by a console.

const BASE = 0x4800_0000;
const FREE = { base: BASE, size: 0x100_0000 };
/** What the model and the secure world use. */
const SHARED = { base: BASE + 0x80_0000, size: 4096 };
const soon = (): Deadline => Deadline.after(120_000, "the test");

let client: RemoteClient | undefined;
afterEach(async () => {
  await client?.close();
  client = undefined;
});

type SecureWorld = FakeLoaderOptions["smc"];

async function bridgeTo(
  options: Partial<FakeLoaderOptions>,
): Promise<{ loader: FakeLoader; bridge: ConsoleBridge }> {
  const loader = new FakeLoader({ smc: (x) => x, ...options });
  const prompt = new LoaderPrompt(loader, { prompt: /=> $/, silenceMs: 20 });
  const window = new RamWindow(FREE, "board.yaml");
  const rest = { program: FAKE_PROGRAM, lineLimit: 480, smcMs: 100 };
  return { loader, bridge: await ConsoleBridge.start({ prompt, window, ...rest }, soon()) };
}

function connect(bridge: ConsoleBridge): RemoteClient {
  client = new RemoteClient(bridge, SHARED, { limitMs: 60_000 });
  return client;
}

const names = (results: readonly TaskResult[]): readonly (string | undefined)[] =>
  results.map((result) => (result && "error" in result ? result.error.name : undefined));

/**
 * One campaign: the model writes, calls and reads at random, and the secure world answers with a
 * checksum of what it sees and writes at random too. Gives what was wrong, and how many calls were right.
 */
async function campaign(noise: number, seed: number): Promise<{ wrong: number; right: number }> {
  const random = new Random(seed);
  const truth = Buffer.alloc(SHARED.size);
  const bytes = (length: number): Uint8Array =>
    Uint8Array.from({ length }, () => random.below(256));
  let answers: Uint8Array[] = [];
  const world: SecureWorld = (x) => {
    const seen = BigInt(crc32(loader.bytes(SHARED.base, SHARED.size)));
    const [answer = new Uint8Array(0)] = answers;
    loader.poke(SHARED.base + 2048, answer);
    return [seen, x[1] ?? 0n, ~(x[2] ?? 0n) & 0xffff_ffff_ffff_ffffn, 0n];
  };
  const { loader, bridge } = await bridgeTo({ smc: world, noise, seed });
  const model = connect(bridge);
  await model.run({ do: "zero", at: SHARED.base, length: SHARED.size });
  let [wrong, right] = [0, 0];
  for (let turn = 0; turn < 6; turn += 1) {
    const part = bytes(1 + random.below(60));
    const offset = random.below(2000 - part.length);
    truth.set(part, offset);
    const seen = BigInt(crc32(truth));
    answers = [bytes(random.below(80))];
    const [x1, x2] = [BigInt(random.u32()), BigInt(random.u32())];
    const from = 2000 + random.below(60);
    const tasks: readonly Task[] = [
      { do: "write", at: SHARED.base + offset, bytes: part },
      { do: "smc", x: [0x3200_0004n, x1, x2] },
      { do: "read", at: SHARED.base + from, length: 100 },
    ];
    const [, call, read] = await model.run(...tasks);
    truth.set(answers[0] ?? [], 2048);
    if (call === undefined || !("x" in call) || read === undefined || !("bytes" in read)) {
      // Given up with a reason, which is no wrong answer; the truth is not known any more.
      const [name] = names([call, read]).filter((one) => one !== undefined);
      expect(["InfrastructureError", "TargetCrashError"]).toContain(name);
      return { wrong, right };
    }
    const registers = [seen, x1, ~x2 & 0xffff_ffff_ffff_ffffn, 0n];
    const isRight =
      registers.every((word, index) => call.x[index] === word) &&
      Buffer.from(read.bytes).equals(truth.subarray(from, from + 100));
    if (isRight) right += 1;
    else wrong += 1;
  }
  return { wrong, right };
}

test.each([1, 3, 10])(
  "%i in a thousand characters wrong: what the model is told is right, or it is told nothing",
  async (noise) => {
    let [wrong, right] = [0, 0];
    for (let seed = 1; seed <= budget(1, 60); seed += 1) {
      const one = await campaign(noise, seed);
      wrong += one.wrong;
      right += one.right;
      await client?.close();
    }
    expect(wrong).toBe(0);
    expect(right).toBeGreaterThan(0);
  },
  600_000,
);

test("a prompt in the middle of what a command shows ends nothing", async () => {
  const { bridge } = await bridgeTo({ split: true });
  const text = "0123456789abc=> ".repeat(12);
  const [, , read] = await connect(bridge).run(
    { do: "write", at: SHARED.base, bytes: Buffer.from(text) },
    { do: "smc", x: [1n] },
    { do: "read", at: SHARED.base, length: text.length },
  );
  expect(read).toEqual({ bytes: Uint8Array.from(Buffer.from(text)) });
  expect(Buffer.from(await bridge.read(SHARED.base as never, 192, soon())).toString()).toBe(text);
}, 60_000);

test("a load address where there is no RAM is an error of the laboratory, and nothing is started there", async () => {
  const loader = new FakeLoader({ smc: (x) => x, hole: [BASE, BASE + FREE.size] });
  const prompt = new LoaderPrompt(loader, { prompt: /=> $/, silenceMs: 20 });
  const window = new RamWindow(FREE, "board.yaml");
  const rest = { program: FAKE_PROGRAM, lineLimit: 480, smcMs: 100 };
  const failed = await ConsoleBridge.start({ prompt, window, ...rest }, soon()).catch(
    (error: unknown) => error as LockstepError,
  );
  expect(failed).toMatchObject({
    exitCode: 3,
    message: "loading the bridge's program failed 8 times",
  });
  expect(loader.crashed).toBe(false);
});

test("a board that its watchdog resets in a call is lost, for the blocked model too", async () => {
  const world: SecureWorld = () => {
    setImmediate(() => loader.lose("unexpected boot banner of U-Boot SPL"));
    return "never returns";
  };
  const { loader, bridge } = await bridgeTo({ smc: world });
  const model = connect(bridge);
  const lost = await model.run({ do: "smc", x: [1n] }, { do: "read", at: SHARED.base, length: 8 });
  expect(names(lost)).toEqual(["TargetCrashError", "TargetCrashError"]);
  expect(lost[0]).toMatchObject({ error: { seen: "unexpected boot banner of U-Boot SPL" } });
});

test("a call that never returns is a crash for the blocked model", async () => {
  const { bridge } = await bridgeTo({ smc: () => "never returns" });
  expect(names(await connect(bridge).run({ do: "smc", x: [1n] }))).toEqual(["TargetCrashError"]);
});
