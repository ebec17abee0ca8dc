import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { CLAUSES } from "../../../../lockstep/index.ts";
import { HAZARD_RULES, makeSealer, readLedger } from "../../../../provision/index.ts";
import {
  channelTo,
  deriveRpmbKey,
  EmmcRpmb,
  intoKey,
  keyDigits,
  keyId,
  openRpmbState,
  readRpmbState,
  rpmbTestKey,
  verifyKey,
  zeroHuk,
} from "../../../../rpmb/index.ts";
import { type Desk, makeDesk, paragraph } from "../../../testing/desk.ts";
import { type HereResult, lockstepHere } from "../../../testing/in-process.ts";
import { type MmcStandIn, startMmcStandIn } from "../../../testing/mmc-stand-in.ts";
import { noPty } from "../../../testing/pty.ts";
import type { CliResult } from "../../../testing/run-cli.ts";
import { noSshd, startSshd } from "../../../testing/sshd.ts";
import { noTracer, startTracedPart } from "../../../testing/traced-part.ts";

// Every case on a board starts processes; a busy machine takes its time.
jest.setTimeout(90_000);

const CID = "fe014e4d4d4330344742c8f6552a6115";
const OTHER_CID = "150100424a5444345203a1b2c3d4c59b";
const HUK = "8899aabbccddeeff0123456789abcdef";
const bytesOf = (hex: string): Buffer => Buffer.from(hex, "hex");
const ZERO = deriveRpmbKey(zeroHuk(), bytesOf(CID), { compat: true });
const FROM_HUK = deriveRpmbKey(intoKey(bytesOf(HUK)), bytesOf(CID), { compat: true });

interface PlanJson {
  readonly obstacles: readonly string[];
  readonly hazards: readonly { readonly id: string }[];
  readonly part?: { readonly cid: string; readonly verdict: string };
  readonly key?: { readonly id: string };
  readonly dryRun?: { readonly keyId: string; readonly after: string };
  readonly confirmation?: { readonly code: string };
  readonly performed?: { readonly verdict: string; readonly writeCounter: number };
}

const cleanups: (() => void | Promise<void>)[] = [];
let desk: Desk;
let env: Record<string, string> = {};

beforeEach(() => {
  desk = makeDesk((clean) => cleanups.push(clean));
  env = { ...desk.env, XDG_STATE_HOME: path.join(desk.cwd, "state") };
});
afterEach(async () => {
  for (const clean of cleanups.splice(0).toReversed()) await clean();
});

const ledger = (): string => path.join(desk.cwd, "state", "lockstep", "rpmb-ledger.jsonl");

function image(name = "part.rpmb", cid = CID): string {
  const file = path.join(desk.cwd, name);
  openRpmbState(file, { create: { cid: bytesOf(cid), sizeMultiplier: 1 } }).close();
  return name;
}

const here = async (...args: readonly string[]): Promise<HereResult> =>
  await lockstepHere(["rpmb", "provision", ...args], { cwd: desk.cwd, env });

async function planOf(...args: readonly string[]): Promise<PlanJson> {
  const { stdout } = await here(...args, "--json");
  return JSON.parse(stdout) as PlanJson;
}

async function verdictOf(file: string, key = ZERO): Promise<string> {
  const named = [{ name: "the key", key, how: "" }];
  const device = readRpmbState(path.join(desk.cwd, file));
  return (await verifyKey(channelTo(device), named)).verdict;
}

function secretFile(name: string, content: string | Uint8Array): string {
  writeFileSync(path.join(desk.cwd, name), content, { mode: 0o600 });
  return name;
}

describe("on the state file of an emulated part", () => {
  const OFFLINE = ["--route", "offline", "--source", "zero-stub"];

  test("the plan leaves the file as it is, shows a dry run, and its code programs the part once", async () => {
    const file = image();
    const before = readFileSync(path.join(desk.cwd, file));
    const plan = await planOf("--image", file, ...OFFLINE);
    expect(plan).toMatchObject({
      obstacles: [],
      part: { cid: CID, verdict: "none programmed" },
      key: { id: keyId(ZERO) },
      dryRun: { keyId: keyId(ZERO), after: "proven" },
    });
    expect(readFileSync(path.join(desk.cwd, file)).equals(before)).toBe(true);
    expect(existsSync(ledger())).toBe(false);
    const { code = "" } = plan.confirmation ?? {};
    const act = ["--image", file, ...OFFLINE, "--perform", "--code", code, "--cid", CID];
    const done = await here(...act, "--json");
    expect([done.code, (JSON.parse(done.stdout) as PlanJson).performed]).toMatchObject([
      0,
      { verdict: "proven", writeCounter: 0 },
    ]);
    expect(await verdictOf(file)).toBe("proven");
    const again = await here(...act);
    expect([again.code, again.stderr]).toEqual([2, expect.stringMatching(/has a key already/)]);
    const seen = await planOf("--image", file, ...OFFLINE);
    expect(seen.hazards[0]?.id).toBe("key-programmed");
    expect(seen.confirmation).toBeUndefined();
  });

  test.each([
    ["the zero stub", ["--source", "zero-stub"], ZERO],
    ["the test key", ["--source", "test-key"], rpmbTestKey()],
    [
      "a build that is not compat",
      ["--source", "zero-stub", "--no-compat"],
      deriveRpmbKey(zeroHuk(), bytesOf(CID), { compat: false }),
    ],
  ])(
    "route write-key-build: the model of a build with %s programs it",
    async (_what, words, key) => {
      const file = image();
      const route = ["--image", file, "--route", "write-key-build", ...words];
      const { confirmation } = await planOf(...route);
      const perform = ["--perform", "--cid", CID, "--code", confirmation?.code ?? ""];
      const { code, stdout } = await here(...route, ...perform);
      expect([code, stdout]).toEqual([
        0,
        expect.stringMatching(/Programmed and proven: .*\nthe model of that build programmed it/),
      ]);
      expect(await verdictOf(file, key)).toBe("proven");
    },
  );

  test("route database: the row of this CID is decrypted, whatever its revision, and no other", async () => {
    const file = image();
    const updated = `${CID.slice(0, 18)}07${CID.slice(20)}`;
    const rows = [`serial,cid,huk`, `1,${OTHER_CID},${HUK}`, `2,${updated},${HUK}`, ""];
    secretFile("lot.csv", rows.join("\n"));
    const identity = await generateIdentity();
    const recipient = await identityToRecipient(identity);
    const sealed = await lockstepHere(
      ["rpmb", "derive", "--batch", "lot.csv", "--out", "keys.csv", "--recipient", recipient],
      { cwd: desk.cwd, env },
    );
    expect([sealed.code, sealed.stderr]).toEqual([0, expect.anything()]);
    secretFile("identity", `${identity}\n`);
    const route = ["--image", file, "--route", "database", "--database", "keys.csv"];
    const opened = [...route, "--identity", "identity"];
    const plan = await planOf(...opened);
    expect(plan.key?.id).toBe(keyId(FROM_HUK));
    const perform = ["--perform", "--cid", CID, "--code", plan.confirmation?.code ?? ""];
    expect((await here(...opened, ...perform)).code).toBe(0);
    expect(await verdictOf(file, FROM_HUK)).toBe("proven");
    const closed = await here(...route);
    expect([closed.code, closed.stderr]).toEqual([2, expect.stringMatching(/nothing was given/)]);
    const other = image("other.rpmb", "aa".repeat(16));
    const missing = await planOf("--image", other, ...opened.slice(2));
    expect(missing.obstacles[0]).toMatch(/no key for this part/);
  });

  test("route offline: a hardware unique key in an encrypted file is opened with its identity", async () => {
    const identity = await generateIdentity();
    const sealer = await makeSealer({ recipients: [await identityToRecipient(identity)] });
    secretFile("huk.age", await sealer.seal(bytesOf(HUK)));
    secretFile("identity", `${identity}\n`);
    const words = ["--image", image(), "--route", "offline", "--huk", "@huk.age"];
    const { key } = await planOf(...words, "--identity", "identity");
    expect(key?.id).toBe(keyId(FROM_HUK));
    expect((await here(...words)).code).toBe(2);
  });

  test("route key-service needs a board", async () => {
    const { code, stderr } = await here("--image", image(), "--route", "key-service");
    expect([code, stderr]).toEqual([2, expect.stringMatching(/no OP-TEE whose key could be read/)]);
  });

  test.each<[string, string[], RegExp]>([
    ["no route", [], /the route is missing/],
    ["a route that does not exist", ["--route", "x"], /write-key-build/],
    ["no code", ["--route", "offline", "--perform", "--cid", CID], /the code under the plan/],
    ["no CID", ["--route", "offline", "--perform", "--code", "A"], /the part's CID and the code/],
    ["a code without an act", ["--route", "offline", "--code", "A"], /are for --perform/],
    [
      "an act that asks nobody",
      ["--route", "offline", "--perform", "--cid", CID, "--code", "A", "--offline"],
      /exclude each other/,
    ],
    ["a board as well", ["--route", "offline", "--board", "emulated"], /exclude each other/],
    [
      "a wrong code",
      [
        "--route",
        "offline",
        "--source",
        "zero-stub",
        "--perform",
        "--cid",
        CID,
        "--code",
        "2222-2222",
      ],
      /not known here/,
    ],
    [
      "a typo in the CID",
      [
        "--route",
        "offline",
        "--source",
        "zero-stub",
        "--perform",
        "--cid",
        `${CID.slice(0, 31)}6`,
        "--code",
        "2222-2222",
      ],
      /not that of the part/,
    ],
  ])("%s is refused and changes nothing", async (_what, words, message) => {
    const file = image();
    const { code, stderr } = await here("--image", file, ...words);
    expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
    expect(await verdictOf(file)).toBe("none programmed");
    expect(readLedger(ledger()).entries).toEqual([]);
  });

  test("the ledger knows a part again after a firmware update of it", async () => {
    const { confirmation } = await planOf("--image", image(), ...OFFLINE);
    const perform = ["--perform", "--cid", CID, "--code", confirmation?.code ?? ""];
    await here("--image", "part.rpmb", ...OFFLINE, ...perform);
    const updated = `${CID.slice(0, 18)}43${CID.slice(20, 30)}2b`;
    const again = await planOf("--image", image("updated.rpmb", updated), ...OFFLINE);
    expect(again.hazards.map(({ id }) => id)).toContain("seen-before");
    const other = await planOf("--image", image("other.rpmb", OTHER_CID), ...OFFLINE);
    expect(other.hazards.map(({ id }) => id)).not.toContain("seen-before");
  });

  test("the ledger shows what was done, and that somebody changed it", async () => {
    const file = image();
    const { confirmation } = await planOf("--image", file, ...OFFLINE);
    const perform = ["--perform", "--cid", CID, "--code", confirmation?.code ?? ""];
    await here("--image", file, ...OFFLINE, ...perform);
    const shown = await here("--ledger");
    expect(shown.code).toBe(0);
    expect(shown.stdout).toMatch(
      /2 entries\n +1 .*intent .*key [0-9a-f]{16}.*\n +2 .*done .*proven/,
    );
    const text = readFileSync(ledger(), "utf8");
    expect(text).not.toContain(keyDigits(ZERO));
    writeFileSync(ledger(), text.replace(keyId(ZERO), "0".repeat(16)));
    const changed = await here("--ledger", "--json");
    expect([changed.code, JSON.parse(changed.stdout)]).toMatchObject([1, { intact: false }]);
    writeFileSync(ledger(), `${text}{"half of an en`);
    expect((await here("--ledger")).stdout).toMatch(/torn:.* 15 bytes/);
  });
});

test.each([
  ["qemu-virt", "offline"],
  ["emulated", "offline"],
  ["emulated", "write-key-build"],
])(
  "a board of type %s whose part Lockstep keeps gets it by route %s, expendable or not",
  async (type, route) => {
    const part = `{ part: emulated, cid: ${CID}, size_multiplier: 1, state: unit.rpmb, optee: { huk: zero-stub, compat: true, write_key: true } }`;
    desk.board(
      "unit",
      `type: ${type}\n${type === "emulated" ? "" : `image: ${type}\n`}rpmb: ${part}\n`,
    );
    const plan = await planOf("--board", "unit", "--route", route);
    expect([plan.obstacles, existsSync(path.join(desk.cwd, "boards/unit.rpmb"))]).toEqual([
      [],
      false,
    ]);
    const perform = ["--perform", "--cid", CID, "--code", plan.confirmation?.code ?? ""];
    const { code, stderr } = await here("--board", "unit", "--route", route, ...perform);
    expect([code, stderr]).toEqual([0, ""]);
    expect(await verdictOf("boards/unit.rpmb")).toBe("proven");
    expect(readLedger(ledger()).entries[0]).toMatchObject({ board: "unit", emulated: true, route });
  },
);

test.each(["write-key-build", "key-service"])(
  "route %s sends nothing to another machine than the QEMU to which the part is served",
  async (route) => {
    desk.board(
      "unit",
      `type: qemu-virt\nimage: qemu-virt\nssh: { host: 192.0.2.1 }\nrpmb: { part: emulated, cid: ${CID}, state: unit.rpmb }\n`,
    );
    const words = ["--board", "unit", "--route", route];
    const perform = ["--perform", "--cid", CID, "--code", "2222-2222"];
    for (const more of [[], perform]) {
      const { code, stderr } = await here(...words, ...more);
      expect([code, stderr]).toEqual([2, expect.stringMatching(/commands to another machine/)]);
    }
    expect(readLedger(ledger()).entries).toEqual([]);
  },
);

describe("plans from a board file alone", () => {
  const TYPE =
    "platform: hardware\nsoc: i.MX8M Plus\nconsoles: { c: { device: /dev/null } }\npower: { driver: none }\n";

  function unit(text: string): void {
    desk.board("types/evk", TYPE);
    desk.board(
      "unit",
      `type: evk\nssh: { host: 192.0.2.1 }\nrpmb:\n  device: /dev/mmcblk2rpmb\n  cid: ${CID}\n${text}`,
    );
  }

  test("show every route with its dry run, and no code", async () => {
    unit(`  optee: { compat: true, huk: { env: BOARD_HUK } }\nlife_cycle: open\n`);
    env = { ...env, BOARD_HUK: HUK };
    for (const route of ["write-key-build", "offline"]) {
      const plan = await planOf("--board", "unit", "--route", route, "--offline");
      expect(plan).toMatchObject({ key: { id: keyId(FROM_HUK) }, dryRun: { after: "proven" } });
      expect(plan.hazards.map(({ id }) => id)).toContain("part-not-asked");
      expect(plan.confirmation).toBeUndefined();
    }
    const { code, stdout } = await here(
      "--board",
      "unit",
      "--route",
      "write-key-build",
      "--offline",
    );
    expect(code).toBe(1);
    expect(stdout).toMatch(
      /stop +on an open i\.MX8M with CFG_IMX_SNVS.*key-not-ready; RPMB-3\.2\.WHEN/,
    );
    expect(stdout).toMatch(/It is not performed: /);
    expect(stdout).not.toContain(HUK);
  });

  test("a unit that is not expendable is not even booted with a build that programs keys", async () => {
    unit(`  optee: { write_key: true }\n`);
    const { code, stderr } = await here("--board", "unit", "--route", "write-key-build");
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/is not booted for a plan: its OP-TEE may program/),
    ]);
  });

  test("LOCKSTEP_BOARD is not enough to perform", async () => {
    unit("expendable: true\n");
    env = { ...env, LOCKSTEP_BOARD: "unit" };
    const words = ["--route", "offline", "--perform", "--cid", CID, "--code", "2222-2222"];
    const { code, stderr } = await here(...words);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/must be named on the command line/)]);
  });
});

const reason = noPty() ?? noSshd() ?? noTracer();
const onBoard = reason === undefined ? test : test.skip;
const because = reason === undefined ? "" : ` (skipped: ${reason})`;

describe("on a board's Linux, over SSH", () => {
  let device: EmmcRpmb;
  let mmc: MmcStandIn;
  let traced: Readonly<Record<string, string>> = {};
  let more = "";

  /** Makes this host the board `desk`, a part of ours behind its kernel and its mmc-utils. */
  async function board(words: string): Promise<void> {
    device = new EmmcRpmb({ cid: bytesOf(CID), sizeMultiplier: 1 });
    mmc = await startMmcStandIn(desk.cwd, device);
    cleanups.push(() => mmc.stop());
    const sysfs = path.join(desk.cwd, "sysfs");
    mkdirSync(sysfs);
    writeFileSync(path.join(sysfs, "cid"), `${CID}\n`);
    const part = await startTracedPart(
      desk.cwd,
      (request, count) => device.frames(request, count),
      sysfs,
    );
    cleanups.push(() => part.stop());
    traced = part.env;
    const sshd = await startSshd(desk.cwd, mmc.bin);
    cleanups.push(() => sshd.stop());
    const user = userInfo().username;
    more = `power: { driver: none }\nssh: { host: 127.0.0.1, port: ${sshd.port}, user: ${user}, key: { file: ${sshd.accepted} }, host_key: "${sshd.hostKey}" }\nrpmb: { device: /dev/null, cid: ${CID}, optee: { compat: true, write_key: false, rpmb_emu: false } }\n`;
    await desk.hardware(["sh", "-i"], `${more}${words}`);
  }

  const run = async (...args: readonly string[]): Promise<CliResult> =>
    await desk.run(["rpmb", "provision", "--board", "desk", ...args], {
      env: { ...env, ...traced },
    });

  async function planned(...args: readonly string[]): Promise<PlanJson> {
    const { stdout, stderr } = await run(...args, "--json");
    if (stdout.length === 0) throw new Error(stderr);
    return JSON.parse(stdout.toString()) as PlanJson;
  }

  function tool(name: string, text: string): void {
    writeFileSync(path.join(mmc.bin, name), `#!/bin/sh\n${text}\n`);
    chmodSync(path.join(mmc.bin, name), 0o755);
  }

  onBoard(
    `route offline: the key goes to mmc-utils on standard input and nowhere else, and is proven; a unit that is not expendable gets no code${because}`,
    async () => {
      await board("");
      secretFile("huk", HUK);
      const route = ["--route", "offline", "--huk", "@huk"];
      const kept = await planned(...route);
      expect(kept.obstacles).toEqual([expect.stringMatching(/`expendable: true`/)]);
      expect([kept.confirmation, device.keyProgrammed]).toEqual([undefined, false]);
      const file = path.join(desk.cwd, "boards", "desk.yaml");
      writeFileSync(file, `${readFileSync(file, "utf8")}expendable: true\n`);
      const plan = await planned(...route);
      expect([plan.obstacles, plan.key?.id, device.keyProgrammed]).toEqual([
        [],
        keyId(FROM_HUK),
        false,
      ]);
      const perform = ["--perform", "--cid", CID, "--code", plan.confirmation?.code ?? ""];
      const { code, stdout, stderr } = await run(...route, ...perform);
      expect([code, stdout.toString()]).toEqual([
        0,
        expect.stringMatching(/Programmed and proven/),
      ]);
      expect(mmc.calls.map(({ words }) => words)).toEqual([
        ["rpmb", "write-key", "/dev/null", "-"],
      ]);
      const named = [{ name: "k", key: FROM_HUK, how: "" }];
      expect((await verifyKey(channelTo(device), named)).verdict).toBe("proven");
      const everything = [
        stdout.toString(),
        stderr,
        readFileSync(ledger(), "utf8"),
        mmc.calls[0]?.environment,
      ];
      for (const secret of [keyDigits(FROM_HUK), HUK]) {
        expect(everything.join("\n").toLowerCase()).not.toContain(secret);
      }
    },
  );

  onBoard(
    `route key-service: the key is read out, held against the derived one, and written${because}`,
    async () => {
      await board("expendable: true\n");
      const answer = (key: string): string =>
        `[ "$1" = ${CID} ] || exit 64\nprintf 'lockstep-rpmb-key 1\\ncid %s\\nkey ${key}\\n' "$1"`;
      tool("lockstep-rpmb-key", answer(keyDigits(FROM_HUK)));
      secretFile("huk", HUK);
      const route = ["--route", "key-service", "--huk", "@huk"];
      const plan = await planned(...route);
      expect([plan.obstacles, plan.key?.id]).toEqual([[], keyId(FROM_HUK)]);
      tool("lockstep-rpmb-key", answer(keyDigits(ZERO)));
      expect((await planned(...route)).obstacles[0]).toMatch(
        /is not the one that this board's OP-TEE derives/,
      );
      tool("lockstep-rpmb-key", "echo 'lockstep-rpmb-key: no service' >&2; exit 1");
      const refused = await run(...route);
      expect([refused.code, paragraph(refused)]).toEqual([
        3,
        expect.stringMatching(/no service.*CFG_INSECURE=y/s),
      ]);
      tool("lockstep-rpmb-key", answer(keyDigits(FROM_HUK)));
      const perform = ["--perform", "--cid", CID, "--code", plan.confirmation?.code ?? ""];
      expect((await run(...route, ...perform)).code).toBe(0);
      expect(device.keyProgrammed).toBe(true);
      rmSync(path.join(mmc.bin, "lockstep-rpmb-key"));
    },
  );

  onBoard(
    `route write-key-build: OP-TEE's first use of storage programs the part, which is verified${because}`,
    async () => {
      await board("expendable: true\nlife_cycle: closed\n");
      desk.board(
        "writer",
        readFileSync(path.join(desk.cwd, "boards/desk.yaml"), "utf8").replace(
          "write_key: false",
          "write_key: true",
        ),
      );
      const key = secretFile("optee-key", FROM_HUK.export());
      secretFile("huk", HUK);
      tool("first-use", `mmc rpmb write-key /dev/null - <${path.join(desk.cwd, key)}`);
      const words = [
        "rpmb",
        "provision",
        "--board",
        "writer",
        "--route",
        "write-key-build",
        "--huk",
        "@huk",
        "--trigger",
        "first-use",
      ];
      const options = { env: { ...env, ...traced } };
      const plan = JSON.parse(
        (await desk.run([...words, "--json"], options)).stdout.toString(),
      ) as PlanJson;
      expect([plan.obstacles, device.keyProgrammed]).toEqual([[], false]);
      const perform = ["--perform", "--cid", CID, "--code", plan.confirmation?.code ?? ""];
      const { code, stdout } = await desk.run([...words, ...perform], options);
      expect([code, stdout.toString()]).toEqual([
        0,
        expect.stringMatching(
          /Programmed and proven.*\nOP-TEE said nothing.*first-use ended with exit code 0/,
        ),
      ]);
    },
  );

  onBoard(
    `a part that refuses the key is reported as blank, here and in the ledger${because}`,
    async () => {
      await board("expendable: true\n");
      const route = ["--route", "offline", "--source", "zero-stub"];
      const { confirmation } = await planned(...route);
      tool("mmc", "cat >/dev/null; echo 'RPMB operation failed, retcode 0x0001' >&2; exit 1");
      const perform = ["--perform", "--cid", CID, "--code", confirmation?.code ?? ""];
      const failed = await run(...route, ...perform);
      expect([failed.code, paragraph(failed)]).toEqual([
        3,
        expect.stringMatching(/0x0001 \(general failure\).*still blank.*code is used up/s),
      ]);
      expect((await here("--ledger")).stdout).toMatch(/failed +\S+ +the part is blank/);
    },
  );
});

test("every clause that a hazard rests on is in the catalogue", () => {
  const known = new Set(CLAUSES.map(({ id }) => id));
  const missing = HAZARD_RULES.flatMap(({ sources }) => sources).filter((id) => !known.has(id));
  expect(missing).toEqual([]);
});
