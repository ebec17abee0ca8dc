import { existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { messageOf, UsageError } from "../../base/index.ts";
import { INVARIANTS, type Invariant } from "./invariants.ts";
import { STORED_PROGRAM } from "./program.ts";
import { list, mismatch, type Of, pick, rarely, record, text } from "./shape.ts";

const invariantNames = Object.keys(INVARIANTS) as Invariant[];
const broken = list(pick(...invariantNames), 0, invariantNames.length);

/** A program in a file: what `--out` gets, what `--replay` reads and what the corpus consists of. */
const STORED = record({
  format: pick("lockstep-fuzz-program/1"),
  /** What it shows, for people. */
  about: rarely(2, text(400)),
  /** Clauses that it is about. */
  clauses: rarely(2, list(text(40), 0, 20)),
  /** The rules under which it was found, and how it was. */
  rules: pick("strict", "xen", "kvm"),
  found: rarely(2, record({ invariant: pick(...invariantNames), seen: text(400) })),
  /** On which board it went another way than on the model, and how. */
  differs: rarely(2, record({ board: text(100), title: text(400) })),
  /** Which invariants it breaks at least under each rule set; replaying the corpus demands them. */
  expect: rarely(2, record({ xen: broken, strict: broken, kvm: broken })),
  program: STORED_PROGRAM,
});

export type StoredProgram = Of<typeof STORED>;
export const STORED_FORMAT = "lockstep-fuzz-program/1";

/** Larger files are no programs. */
const MAX_BYTES = 4 * 1024 * 1024;
const NEXT = "Give a file that `lockstep fuzz` wrote, or one as docs/fuzzing.md describes";

/** Reads a program file and checks every field. Throws UsageError that says what is wrong where. */
export function readStored(file: string): StoredProgram {
  const fail = (message: string, seen?: string): never => {
    throw new UsageError(message, {
      where: file,
      next: NEXT,
      ...(seen === undefined ? {} : { seen }),
    });
  };
  let bytes: string;
  try {
    const stat = statSync(file);
    if (!stat.isFile()) return fail("is not a file");
    if (stat.size > MAX_BYTES) return fail("is too large for a program", `${stat.size} bytes`);
    bytes = readFileSync(file, "utf8");
  } catch (error) {
    if (error instanceof UsageError) throw error;
    return fail("cannot be read", messageOf(error));
  }
  let value: unknown;
  try {
    value = JSON.parse(bytes);
  } catch (error) {
    return fail("is not JSON", messageOf(error));
  }
  const wrong = mismatch(STORED, value);
  if (wrong !== undefined) return fail(`is not a program: expected at ${wrong}`);
  return value as StoredProgram;
}

/** Writes a program file, whole or not at all; the name says what it breaks. Gives its path. */
export function writeStored(folder: string, name: string, stored: StoredProgram): string {
  mkdirSync(folder, { recursive: true });
  let file = path.join(folder, `${name}.json`);
  for (let number = 2; existsSync(file); number += 1)
    file = path.join(folder, `${name}-${number}.json`);
  const draft = `${file}.${process.pid}.tmp`;
  writeFileSync(draft, `${JSON.stringify(stored, undefined, 1)}\n`);
  renameSync(draft, file);
  return file;
}
