import { expect, test } from "@jest/globals";
import { budget, Deadline, LockstepError, Random } from "../base/index.ts";
import { type Pa, Registers } from "../machine/index.ts";
import { AgentBridge, type AgentBridgeOptions } from "./agent-bridge.ts";
import { RamWindow } from "./ram-window.ts";
import { FAKE_WINDOW, FakeAgent } from "./testing/fake-agent.ts";
import { NoisyConsole } from "./testing/noisy-console.ts";

const GAP_MS = 3;
const DATA = (FAKE_WINDOW.base + 0x8_0000) as Pa;
const soon = (): Deadline => Deadline.after(60_000, "the test");

async function start(
  options: Partial<AgentBridgeOptions> = {},
  seed = 1,
): Promise<{ board: FakeAgent; agent: AgentBridge; wire: NoisyConsole }> {
  const board = new FakeAgent(GAP_MS);
  const wire = new NoisyConsole(board, seed);
  const agent = await AgentBridge.start(
    {
      console: wire,
      prompt: board.prompt,
      loader: board.loader,
      window: new RamWindow(FAKE_WINDOW, "board.yaml"),
      program: new Uint8Array(100),
      devices: { uart: { kind: "imx", base: 0x3089_0000 } },
      baud: 4_000_000,
      smcMs: 1000,
      silenceMs: 1000,
      gapMs: GAP_MS,
      retryMs: 5,
      ...options,
    },
    soon(),
  );
  return { board, agent, wire };
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

test("a batch is carried out in its order: writes, the call, what it left", async () => {
  const { agent, board } = await start();
  board.smc = (x) => {
    board.ram.write("answered", DATA - FAKE_WINDOW.base);
    return x.map((word) => word + 1n);
  };
  const bytes = Buffer.from("question");
  const results = await agent.exec(
    [
      { kind: "write", at: DATA, bytes },
      { kind: "smc", x: [1n, 2n, 3n, 4n, 5n, 6n, 7n, 0xffff_ffff_ffff_fffen] },
      { kind: "read", at: DATA, length: 8 },
      { kind: "checksums", at: DATA, size: 8, count: 2 },
    ],
    soon(),
  );
  expect(results).toMatchObject([
    { kind: "write" },
    { kind: "smc", x: [2n, 3n, 4n, 5n, 6n, 7n, 8n, 0xffff_ffff_ffff_ffffn] },
    { kind: "read", bytes: Uint8Array.from(Buffer.from("answered")) },
    { kind: "checksums", values: [1_836_485_352, 1_696_784_233] },
  ]);
  expect(board.executed).toHaveLength(1);
});

test("what the secure world prints on the same line is handed out as text", async () => {
  const heard: Uint8Array[] = [];
  const { agent, board } = await start({ onText: (bytes) => heard.push(Buffer.from(bytes)) });
  board.prints = "I/TC: hello\r\n";
  await agent.smc(call([1n]), soon());
  expect(Buffer.concat(heard).toString()).toContain("I/TC: hello\r\n");
});

/**
 * The secure world answers every call into the memory of its message, as a real one does: a message
 * that is written again after the call would destroy the answer.
 */
function answerInto(board: FakeAgent): void {
  const at = DATA - FAKE_WINDOW.base;
  board.smc = (x) => {
    for (let index = at; index < at + 300; index += 1) {
      board.ram[index] = 255 - (board.ram[index] ?? 0);
    }
    return [x[0] ?? 0n, BigInt(board.executed.length), ...x.slice(2)];
  };
}

test.each([1, 3, 10])(
  "%i in a thousand bytes wrong: every answer right, every SMC carried out once",
  async (noise) => {
    for (let seed = 1; seed <= budget(2, 200); seed += 1) {
      const { agent, board, wire } = await start({}, seed);
      answerInto(board);
      wire.noise = noise;
      const random = new Random(seed);
      for (let turn = 0; turn < 8; turn += 1) {
        const bytes = Uint8Array.from({ length: 300 }, () => random.below(256));
        const x = Array.from({ length: 8 }, () => BigInt(random.u32()));
        const [, made, read] = await agent.exec(
          [
            { kind: "write", at: DATA, bytes },
            { kind: "smc", x },
            { kind: "read", at: DATA, length: 300 },
          ],
          soon(),
        );
        expect(made).toEqual({ kind: "smc", x: [x[0], BigInt(turn), ...x.slice(2)] });
        expect(read).toEqual({ kind: "read", bytes: bytes.map((byte) => 255 - byte) });
        expect(board.executed).toHaveLength(turn + 1);
      }
      expect(wire.faults).toBeGreaterThan(0);
    }
  },
  120_000,
);

test("long reads and writes get through a line that lets only short frames pass", async () => {
  const { agent, wire } = await start({}, 5);
  wire.noise = 10;
  const random = new Random(9);
  const bytes = Uint8Array.from({ length: 4096 }, () => random.below(256));
  await agent.write(DATA, bytes, soon());
  expect(Buffer.from(await agent.read(DATA, bytes.length, soon())).equals(bytes)).toBe(true);
}, 60_000);

test("an SMC that never returns is a crash of the target", async () => {
  const { agent, board } = await start();
  board.smc = () => "never returns";
  const error = await failure(agent.smc(call([1n]), soon()));
  expect(error).toMatchObject({ exitCode: 5, seen: "nothing" });
  expect(board.executed).toHaveLength(1);
});

test("a killed agent and a board that resets are crashes of the target", async () => {
  const killed = await start();
  killed.board.state = "gone";
  expect(await failure(killed.agent.read(DATA, 16, soon()))).toMatchObject({ exitCode: 5 });

  const reset = await start();
  reset.board.state = "gone";
  const pending = failure(reset.agent.read(DATA, 16, soon()));
  reset.board.lose("unexpected boot banner: U-Boot 2025.01");
  expect(await pending).toMatchObject({
    exitCode: 5,
    seen: "unexpected boot banner: U-Boot 2025.01",
  });

  const prompt = await start();
  prompt.board.state = "prompt";
  const error = await failure(prompt.agent.read(DATA, 16, soon()));
  expect(error).toMatchObject({ exitCode: 5 });
  expect(error.message).toMatch(/echo/);
});

test("a line that carries nothing right is an error of the laboratory", async () => {
  const { agent, wire } = await start();
  wire.noise = 600;
  expect(await failure(agent.read(DATA, 64, soon()))).toMatchObject({ exitCode: 3 });
});

test("addresses outside the agent's RAM are refused before anything is sent", async () => {
  const { agent, board } = await start();
  board.state = "gone";
  for (const at of [FAKE_WINDOW.base, FAKE_WINDOW.base + FAKE_WINDOW.size - 3, 0]) {
    await expect(agent.write(at as Pa, new Uint8Array(8), soon())).rejects.toThrow(RangeError);
    await expect(agent.read(at as Pa, 8, soon())).rejects.toThrow(/outside the agent's RAM/);
  }
});

test("after its end the boot loader's prompt stands there again", async () => {
  const { agent, board } = await start();
  await agent.exit(soon());
  expect(board.state).toBe("prompt");
});

test("registers in place: what a call leaves alone stays", async () => {
  const { agent, board } = await start();
  board.smc = (x) => [0n, ...x.slice(1)];
  const registers = call([5n, 6n, 7n, 8n, 9n, 10n, 11n, 2n ** 63n]);
  await agent.smc(registers, soon());
  expect(values(registers)).toEqual([0n, 6n, 7n, 8n, 9n, 10n, 11n, 2n ** 63n]);
});
