import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import { packageRoot, silentProgress } from "../../base/index.ts";
import { type BridgeTransport, type LiveBoard, loadBoard, openBoard } from "../../board/index.ts";
import { findPrepared, imageTas, prepareImage } from "../../images/index.ts";
import {
  BridgedTarget,
  type BridgedTargetOptions,
  type Combination,
} from "../../platform/index.ts";

const imageDir = process.env["LOCKSTEP_TEST_IMAGE"] ?? "";
const suite = imageDir === "" ? describe.skip : describe;
const why = imageDir === "" ? " (skipped: LOCKSTEP_TEST_IMAGE names no prepared image)" : "";
const TIMEOUT = 600_000;
/** CALLS_UID of OP-TEE, and x4 to x7 as the scenario sends them. */
const API_UID = [0x384f_b3e0, 0xe7f8_11e3, 0xaf63_0002, 0xa5d5_c51b, 0x44, 0x55, 0x66, 0];

const built = (...names: string[]): string =>
  JSON.stringify(pathToFileURL(path.join(packageRoot, "dist", ...names)).href);
/**
 * PSCI VERSION, and CPU_OFF, which takes the only core away; a command of the pseudo-TA for tests that
 * takes a while, and how often an interrupt came in its middle.
 */
const SCENARIOS = `
import { Registers } from ${built("harness", "machine", "index.js")};
import { openSession, RawDriver } from ${built("suites", "support", "raw-driver.js")};
const call = (fid) => ({
  conduits: ["direct"],
  clauses: [],
  run: (context) => {
    const registers = new Registers([fid]);
    context.conduit.smc(registers);
    return registers.get(0);
  },
});
export const version = call(0x84000000);
export const coreOff = call(0x84000002);
export const interrupted = {
  conduits: ["direct", "vm"],
  clauses: [],
  interrupts: 200,
  run: ({ conduit }) => {
    let interrupts = 0;
    const driver = new RawDriver({
      ...conduit,
      smc: (registers, vcpu) => {
        conduit.smc(registers, vcpu);
        if (registers.get(0) === 0xffff0004) interrupts += 1;
      },
    });
    const { session } = driver.get(driver.send(openSession("d96a5b40-c3e5-21e3-8794-1002a5d5c61b")).at);
    const { ret } = driver.get(driver.send({ cmd: 1, ret: 1, session, func: 2 }).at);
    return { ret, interrupted: interrupts > 0 };
  },
};
`;

const dir = mkdtempSync(path.join(tmpdir(), "lockstep-transports-"));
let board: LiveBoard | undefined;
let target: BridgedTarget | undefined;

afterEach(async () => {
  await target?.close();
  await board?.close();
  board = undefined;
  target = undefined;
}, TIMEOUT);

beforeAll(() => {
  const suites = path.join(dir, "dist", "suites", "own");
  mkdirSync(suites, { recursive: true });
  writeFileSync(path.join(dir, "package.json"), '{ "type": "module" }');
  writeFileSync(path.join(suites, "calls.scenario.js"), SCENARIOS);
});

afterAll(() => {
  rmSync(dir, { recursive: true });
});

/** A board of one's own that is like `like` but for its bridge: nothing of it is shared with the host. */
async function start(
  like: string,
  transport: BridgeTransport,
  more = "",
  options: Partial<BridgedTargetOptions> = {},
): Promise<BridgedTarget> {
  const known = await loadBoard(like, { env: {} });
  const name = `mine-${like}-${transport}`;
  const file = path.join(dir, `${name}.yaml`);
  const image = known.image ?? "";
  writeFileSync(
    file,
    [
      `type: ${path.join(packageRoot, "boards", "types", "qemu-virt.yaml")}`,
      `image: ${image}`,
      `conduits: [${known.conduits.join(", ")}]`,
      `bridge: { transport: ${transport}, ${more} }`,
      like === "qemu-virt-hyp" ? "qemu: { options: { virtualization: on } }" : "",
      "ssh: none",
      "xtest: none",
    ].join("\n"),
  );
  const abort = new AbortController().signal;
  const own = { env: process.env, progress: silentProgress, abort };
  const prepared = (await findPrepared(image, process.env)) ?? (await prepareImage(image, own));
  board = await openBoard(await loadBoard(file, { env: {} }), {
    observer: { raw: () => {}, line: () => {}, stageStart: () => {}, stageEnd: () => {} },
    progress: silentProgress,
    abort,
    prepared,
  });
  const tas = await imageTas(prepared);
  target = new BridgedTarget({ board, env: process.env, abort, tas, smcMs: 5000, ...options });
  return target;
}

const DIRECT: Combination = { conduit: "direct" };
const VM: Combination = { conduit: "vm", rules: "strict" };

suite(`scenarios over a serial line alone${why}`, () => {
  test.each(["console", "agent"] as const)(
    "of a plain OP-TEE, by %s: registers, messages, RPCs, sessions of a pseudo-TA",
    async (transport) => {
      const mine = await start("qemu-virt", transport);
      const run = async (reference: string): Promise<unknown> =>
        await mine.run(reference, null, DIRECT);
      expect(await run("smc-abi/fast-calls#callsUid")).toEqual(API_UID);
      expect(await run("smc-abi/yielding-calls#pseudoTaByHand")).toMatchObject({
        results: [0, 0, 0],
      });
      expect(await run("normal-world/sessions#pseudoTa")).toEqual({
        result: 0,
        origin: 4,
        a: 42,
        b: 2,
      });
    },
    TIMEOUT,
  );

  test.each(["console", "agent"] as const)(
    "of a virtualized OP-TEE behind our mediator, by %s: a VM's session",
    async (transport) => {
      const mine = await start("qemu-virt-hyp", transport);
      expect(await mine.run("normal-world/sessions#pseudoTa", null, VM)).toEqual({
        result: 0,
        origin: 4,
        a: 42,
        b: 2,
      });
    },
    TIMEOUT,
  );

  test.each([
    ["qemu-virt", DIRECT],
    ["qemu-virt-hyp", VM],
  ] as const)(
    "SMC-5.FOREIGN_INTR: by agent, on %s: a scenario's call is interrupted in its middle and completes",
    async (like, on) => {
      const mine = await start(like, "agent", "", { root: dir });
      const seen = await mine.run("own/calls#interrupted", null, on);
      expect(seen).toEqual({ ret: 0, interrupted: true });
    },
    TIMEOUT,
  );

  test(
    "a call that never returns is a crash, over a console alone too, and the next scenario runs",
    async () => {
      const mine = await start("qemu-virt", "console", "", { root: dir, smcMs: 2000 });
      const run = async (name: string): Promise<unknown> =>
        await mine.run(`own/calls#${name}`, null, DIRECT);
      expect(await run("version")).toBe(0x10001);
      await expect(run("coreOff")).rejects.toMatchObject({ exitCode: 5 });
      expect(await run("version")).toBe(0x10001);
    },
    TIMEOUT,
  );

  test(
    "a real TA of 190 KiB is loaded over the agent's line",
    async () => {
      const mine = await start("qemu-virt", "agent");
      expect(await mine.run("normal-world/sessions#userTa", null, DIRECT)).toEqual({
        loads: 2,
        leaked: 0,
      });
    },
    TIMEOUT,
  );

  test(
    "a board without a saved state is reset when a scenario left something behind, and only then",
    async () => {
      const mine = await start("qemu-virt", "agent", "reset: unclean");
      const stages: string[] = [];
      const restart = board?.restart.bind(board);
      if (board !== undefined && restart !== undefined) {
        board.restart = async (deadline) => {
          stages.push("restart");
          await restart(deadline);
        };
      }
      const run = async (name: string): Promise<unknown> =>
        await mine.run(`smc-abi/${name}`, null, DIRECT);
      expect(await run("fast-calls#callsUid")).toEqual(API_UID);
      expect(await run("fast-calls#callsRevision")).toBeDefined();
      expect(stages).toEqual([]);
      const cache = await run("fast-calls#shmCache");
      expect(await run("fast-calls#shmCache")).toEqual(cache);
      expect(stages).toEqual(["restart"]);
    },
    TIMEOUT,
  );
});
