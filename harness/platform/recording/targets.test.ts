import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget, packageRoot, SecretStore } from "../../base/index.ts";
import { loadBoard } from "../../board/index.ts";
import { type Pa, Registers } from "../../machine/index.ts";
import { encodeMessage, OPTEE_SMC } from "../../optee-abi/index.ts";
import { BundleWriter, type Trace, type TraceRecord } from "../../run/index.ts";
import {
  type Combination,
  createEmulated,
  type Data,
  EmulatedTarget,
  recordPort,
  Recorder,
  RecordList,
} from "../index.ts";

let root = "";

beforeAll(() => {
  root = mkdtempSync(path.join(tmpdir(), "lockstep-recorded-"));
  const suites = path.join(root, "dist", "suites", "own");
  mkdirSync(suites, { recursive: true });
  writeFileSync(path.join(root, "package.json"), '{ "type": "module" }');
  const base = pathToFileURL(path.join(packageRoot, "dist", "harness", "base", "index.js"));
  const source = `
    import { TargetCrashError } from ${JSON.stringify(base.href)};
    const scenario = (run) => ({ conduits: ["direct"], clauses: [], run });
    export const done = scenario((context, args) => { context.guest(); return { args, big: 7n }; });
    export const skips = scenario((context) => { context.guest(); context.skip("not here"); });
    export const crashes = scenario((context) => {
      context.guest();
      throw new TargetCrashError("it never came back");
    });
    export const breaks = scenario(async () => { throw new TypeError("a mistake"); });`;
  writeFileSync(path.join(suites, "runs.scenario.js"), source);
});

afterAll(() => {
  rmSync(root, { recursive: true });
});

async function runOwn(name: string): Promise<{
  readonly outcome: Data | Error;
  readonly calls: readonly { records: readonly TraceRecord[]; on: Combination }[];
}> {
  const target = new EmulatedTarget(await loadBoard("emulated", { env: {} }), { root });
  const calls: { records: readonly TraceRecord[]; on: Combination }[] = [];
  const outcome = await target
    .run(`own/runs#${name}`, "argument", undefined, (records, on) => {
      calls.push({ records, on });
    })
    .catch((error: unknown) => error as Error);
  return { outcome, calls };
}

test("the records of a run are handed out once, however it ends", async () => {
  const created = { type: "guest", guest: 0, what: "created" };
  const done = await runOwn("done");
  expect(done.outcome).toEqual({ args: "argument", big: 7n });
  expect(done.calls).toEqual([
    {
      on: { conduit: "direct" },
      records: [
        created,
        { type: "end", how: "done", value: { args: "argument", big: { $bigint: "0x7" } } },
      ],
    },
  ]);
  const ends = { skips: "skip", crashes: "crash", breaks: "error" } as const;
  for (const [name, how] of Object.entries(ends)) {
    const { outcome, calls } = await runOwn(name);
    expect(outcome).toBeInstanceOf(Error);
    expect(calls).toHaveLength(1);
    expect(calls[0]?.records.at(-1)).toMatchObject({ type: "end", how });
    expect(calls[0]?.records.length).toBe(name === "breaks" ? 1 : 2);
  }
  expect((await runOwn("absent")).calls).toEqual([]);
});

test("whatever a guest and a secure world do, it is recorded, and read back as it was", async () => {
  const writer = await BundleWriter.create(
    path.join(root, "bundle"),
    { id: "r", lockstep: "0", node: "0", command: [], seed: 1 },
    { secrets: new SecretStore(), runtimeDir: path.join(root, "rt") },
  );
  const place = 0x4800_0000;
  const address = fc.oneof(
    fc.integer({ min: place - 16, max: place + 16_500 }),
    fc.constantFrom(0, 4095, 0x4000_0000, 0x0e10_0000, 2 ** 32 - 1),
  );
  const word = fc.oneof(
    address.map((at) => BigInt(at)),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    fc.bigInt({ min: 0n, max: 9n }),
  );
  const attr = fc.oneof(fc.constantFrom(1n, 2n, 5n, 6n, 7n, 9n, 0xan, 0x20an, 0x101n), word);
  const message = fc.record({
    cmd: fc.integer({ min: 0, max: 8 }),
    ret: fc.constantFrom(0, 0, 0xffff_0006),
    params: fc.array(fc.record({ attr, a: word, b: word, c: word }), { maxLength: 5 }),
    claims: fc.option(fc.nat(0xffff_ffff), { nil: undefined }),
  });
  const low = fc.oneof(fc.nat(3), address, fc.nat(0xffff_ffff));
  const first = fc.oneof(
    fc.constantFrom(...Object.values(OPTEE_SMC).filter((id) => id < 0x8000_0000)),
    fc.nat(0xffff_ffff),
  );
  const code = fc.constantFrom(0, 0, 1, 3, 0xffff_0000, 0xffff_0002, 0xffff_0004, 0xffff_0005);
  const step = fc.record({
    put: fc.array(fc.tuple(address, fc.oneof(message, fc.uint8Array({ maxLength: 64 })))),
    call: fc.tuple(first, low, low, low, low, low, low, fc.nat(2)),
    back: fc.tuple(fc.oneof(code, low), low, low, fc.nat(3)),
  });
  let count = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 8 }), async (steps) => {
      const { memory } = createEmulated({ conduit: "direct", seed: 1 }).port;
      const list = new RecordList();
      let back: readonly number[] = [];
      const smc = (registers: Registers): void => {
        for (const [index, value] of back.entries()) registers.set(index, value);
      };
      const port = recordPort({ memory, smc }, new Recorder(list));
      for (const { put, call, back: words } of steps) {
        for (const [at, what] of put) {
          const bytes = what instanceof Uint8Array ? what : encodeMessage(what);
          if (!(what instanceof Uint8Array) && what.claims !== undefined) {
            new DataView(bytes.buffer).setUint32(28, what.claims, true);
          }
          if (at >= 0x4000_0000 && at < 0x5000_0000) memory.write(at as Pa, bytes);
        }
        back = words;
        port.smc(new Registers(call));
      }
      expect(list.records).toHaveLength(steps.length * 2);
      count += 1;
      const caseId = `s.${count}`;
      const header: Trace["header"] = {
        type: "trace",
        format: 1,
        target: "t",
        caseId,
        run: 0,
        reference: "a/b#c",
        conduit: "direct",
        seed: 1,
        clauses: [],
      };
      writer.trace({ header, records: list.records });
      const [trace] = await writer.traces("t", caseId);
      expect(trace?.records).toEqual(list.records);
    }),
    { numRuns: budget(100, 5000) },
  );
  await writer.abandon();
}, 600_000);
