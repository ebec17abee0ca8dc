import { writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { findPrepared } from "../../../images/index.ts";
import { cleanEnv, lockstep, temporaryFolder } from "../../testing/run-cli.ts";
import type { DumpDocument } from "./dump-report.ts";
import type { VerifyDocument } from "./verify-report.ts";

// A board boots several times in one case, on a machine that others use as well.
jest.setTimeout(600_000);

const NAME = "qemu-virt-rpmb";
const prepared = await findPrepared(NAME, cleanEnv());
const withImage = prepared === undefined ? test.skip : test;
const why = prepared === undefined ? ` (skipped: \`lockstep prepare ${NAME}\` was not run)` : "";

const cleanups: (() => void)[] = [];
let cwd = "";

beforeEach(() => {
  cwd = temporaryFolder((clean) => cleanups.push(clean));
});
afterEach(() => {
  for (const clean of cleanups.splice(0)) clean();
});

async function rpmb(...args: string[]): Promise<{ code: number | null; document: unknown }> {
  const run = { cwd, limitMs: 300_000 };
  const { code, stdout, stderr } = await lockstep(["rpmb", ...args, "--json"], run);
  if (stdout.length === 0) throw new Error(stderr);
  return { code, document: JSON.parse(stdout.toString()) };
}

const verified = async (
  ...args: string[]
): Promise<{ code: number | null; document: VerifyDocument }> =>
  (await rpmb("verify", ...args)) as { code: number | null; document: VerifyDocument };
const dumped = async (
  ...args: string[]
): Promise<{ code: number | null; document: DumpDocument }> =>
  (await rpmb("dump", ...args)) as { code: number | null; document: DumpDocument };

withImage(
  `a real OP-TEE's key is proven on its part through Linux, by our helper, and the part stays as it is${why}`,
  async () => {
    const board = path.join(cwd, "kept.yaml");
    writeFileSync(
      board,
      `type: qemu-virt
image: qemu-virt-rpmb
conduits: []
rpmb:
  part: emulated
  state: part.rpmb
  optee: { write_key: true, compat: true, huk: zero-stub, routing: supplicant }
`,
    );
    const blank = await verified("--board", board);
    expect([blank.code, blank.document.verdict]).toEqual([1, "none programmed"]);

    const used = ["exec", "-q", board, "--", "xtest -l 0 _6001"];
    const { code, stdout } = await lockstep(used, { cwd, limitMs: 300_000 });
    expect(stdout.toString()).toContain("Storage id: 80000100");
    expect(code).toBe(0);

    const proven = await verified("--board", board);
    expect(proven).toMatchObject({
      code: 0,
      document: {
        over: "helper",
        subject: "/dev/mmcblk0rpmb",
        verdict: "proven",
        routes: [{ name: "zero-stub/compat" }],
        counter: { expired: false, authentic: true },
        expected: { route: "zero-stub/compat", from: "the board file", met: true },
        part: { cid: "fe014e4d4d4330344742c8f6552a6115", sizeMultiplier: 2 },
      },
    });
    expect(proven.document.counter?.value).toBeGreaterThan(0);
    const dump = await dumped("--board", board);
    expect(dump).toMatchObject({
      code: 0,
      document: {
        authentic: true,
        storage: { version: 2, problems: [] },
        counter: proven.document.counter,
      },
    });
    const image = await verified("--image", "part.rpmb");
    expect(image.document).toMatchObject({
      verdict: "proven",
      keyId: proven.document.keyId,
      counter: proven.document.counter,
    });
  },
);

withImage(
  `a real OP-TEE's key is proven over the bridge, by what it writes itself${why}`,
  async () => {
    const { code, document } = await verified("--board", "qemu-virt-rpmb", "--over", "bridge");
    expect([code, document.over, document.verdict]).toEqual([0, "optee", "proven"]);
    expect(document.routes.map(({ name }) => name)).toEqual(["zero-stub/compat"]);
  },
);
