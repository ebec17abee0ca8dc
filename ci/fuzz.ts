import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { packageRoot } from "../harness/base/index.ts";
import { type Counts, add, NOTHING, show } from "./stages.ts";

/** What `lockstep fuzz --json` prints, as far as the lanes read it. */
interface FuzzDocument {
  readonly rules: string;
  readonly seed: number;
  readonly programs: number;
  readonly smcs: number;
  readonly deaths: number;
  readonly clauses: readonly string[];
  readonly findings: readonly {
    readonly invariant: string;
    readonly seen: string;
    readonly excusedBy: readonly string[];
    readonly file?: string;
  }[];
  readonly time: { readonly seconds: number; readonly smcsPerMinute: number };
}

/** Rule sets of a campaign: ours must hold, and under `xen` the known defects must be found. */
export const FUZZED_RULES = ["strict", "kvm", "xen"] as const;

/** Fuzzes each rule set and counts a campaign as one case; `amount` is `--runs` or `--time`. */
export async function fuzz(
  seed: number,
  amount: readonly string[],
  abort: AbortSignal,
): Promise<Counts> {
  let counts = NOTHING;
  for (const rules of FUZZED_RULES) {
    counts = add(counts, await campaign(rules, ["--seed", String(seed), ...amount], abort));
  }
  return counts;
}

/** What `lockstep fuzz --board --json` prints, as far as the lanes read it. */
interface BoardFuzzDocument {
  readonly seed: number;
  readonly programs: number;
  readonly secureSmcs: number;
  readonly restores: number;
  readonly reboots: number;
  readonly lost: number;
  readonly findings: readonly {
    readonly kind: string;
    readonly title: string;
    readonly file?: string;
  }[];
  readonly time: { readonly seconds: number };
}

/** Holds the model against a board's real OP-TEE, as one case; `amount` is `--runs` or `--time`. */
export async function fuzzOnBoard(
  board: string,
  seed: number,
  amount: readonly string[],
  abort: AbortSignal,
): Promise<Counts> {
  const out = await mkdtemp(path.join(tmpdir(), "lockstep-fuzz-"));
  const main = path.join(packageRoot, "dist", "harness", "cli", "main.js");
  const line = [
    "fuzz",
    "--board",
    board,
    "--json",
    "--out",
    out,
    "--seed",
    String(seed),
    ...amount,
  ];
  const { exitCode, stdout } = await show(process.execPath, [main, ...line], abort, {
    quiet: true,
  });
  let document: BoardFuzzDocument;
  try {
    document = JSON.parse(stdout) as BoardFuzzDocument;
  } catch {
    throw new Error(`lockstep ${line.join(" ")} exited ${exitCode} and printed no JSON document`);
  }
  const { programs, secureSmcs, restores, reboots, lost, findings, time } = document;
  process.stdout.write(
    `${board}, seed ${seed}: ${programs} programs, ${secureSmcs} SMCs of the real secure world in ` +
      `${time.seconds} s, ${restores} restores, ${reboots} reboots, ${lost} lost, ${findings.length} differences\n`,
  );
  for (const { kind, title, file } of findings) {
    process.stdout.write(`${kind}: ${title}\n  lockstep fuzz --board ${board} --replay ${file}\n`);
  }
  // A program that says nothing is none that passed.
  const failed = exitCode !== 0 || findings.length > 0 || lost > 0;
  if (!failed) await rm(out, { recursive: true, force: true });
  return { passed: failed ? 0 : 1, failed: failed ? 1 : 0, skipped: 0 };
}

/** What a campaign breaks is kept in a folder that is named; without a finding nothing is left. */
async function campaign(
  rules: (typeof FUZZED_RULES)[number],
  args: readonly string[],
  abort: AbortSignal,
): Promise<Counts> {
  const out = await mkdtemp(path.join(tmpdir(), "lockstep-fuzz-"));
  const main = path.join(packageRoot, "dist", "harness", "cli", "main.js");
  const line = ["fuzz", "--rules", rules, "--json", "--out", out, ...args];
  const { exitCode, stdout } = await show(process.execPath, [main, ...line], abort, {
    quiet: true,
  });
  let document: FuzzDocument;
  try {
    document = JSON.parse(stdout) as FuzzDocument;
  } catch {
    throw new Error(`lockstep ${line.join(" ")} exited ${exitCode} and printed no JSON document`);
  }
  const known = document.findings.filter(({ excusedBy }) => excusedBy.length > 0);
  const bugs = document.findings.filter(({ excusedBy }) => excusedBy.length === 0);
  const { programs, smcs, deaths, clauses, seed, time } = document;
  process.stdout.write(
    `rules ${rules}, seed ${seed}: ${programs} programs, ${smcs} SMCs in ${time.seconds} s ` +
      `(${time.smcsPerMinute} a minute), ${deaths} VM deaths, ${clauses.length} clauses reached, ` +
      `${known.length} known defects, ${bugs.length} violations\n`,
  );
  for (const { invariant, seen, file } of bugs) {
    process.stdout.write(
      `${invariant}: ${seen}\n  lockstep fuzz --rules ${rules} --replay ${file}\n`,
    );
  }
  const blind = rules === "xen" && known.length === 0;
  if (blind) process.stdout.write("none of the Xen mediator's defects was found\n");
  const failed = exitCode !== 0 || bugs.length > 0 || blind;
  if (bugs.length === 0) await rm(out, { recursive: true, force: true });
  return { passed: failed ? 0 : 1, failed: failed ? 1 : 0, skipped: 0 };
}
