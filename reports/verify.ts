import { createHash } from "node:crypto";
import {
  createReadStream,
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  type BundleReader,
  resultsText,
  traceFileIn,
  type FileDigest,
  type RunInfo,
  sortedResults,
  type CaseResult,
} from "../harness/run/index.ts";
import { BUNDLE_FORMATS, REPORT_FILES, renderAll } from "./render.ts";

/** What `lockstep report verify` found. */
export interface Verification {
  readonly state: RunInfo["state"];
  /** Anything that is not as the writer left it. Empty for a sound bundle. */
  readonly problems: readonly string[];
  /** Worth knowing, but no fault of the bundle. */
  readonly notes: readonly string[];
}

/**
 * Checks a bundle against itself: sizes and hashes of all evidence, every event and trace, results against the
 * events that they came from, redactions within their files, and that its reports are what the
 * evidence gives when they are made again. Throws UsageError where an event or a trace cannot be read.
 */
export async function verifyBundle(reader: BundleReader, lockstep: string): Promise<Verification> {
  const problems: string[] = [];
  const notes: string[] = [];
  const { info } = reader;
  await checkFiles(reader, problems);
  await checkEvents(reader, problems);
  await checkTraces(reader, problems);
  for (const { file, offset, length } of info.redactions) {
    const stream = info.streams.find((one) => one.file === file);
    if (stream === undefined) problems.push(`a redaction names ${file}, which is no stream`);
    else if (offset + length > reader.size(stream) && info.state !== "running") {
      problems.push(`a redaction at ${offset} lies behind the end of ${file}`);
    }
  }
  if (info.state === "running")
    notes.push("the run did not end: its writer was killed or still runs");
  else if (info.state === "incomplete") notes.push("the run was cut short");
  if (info.lockstep !== lockstep) {
    notes.push(
      `reports were not made again: they are from lockstep ${info.lockstep}, this is ${lockstep}`,
    );
  } else if (info.state !== "running") {
    await checkReports(reader, problems, notes);
  }
  return { state: info.state, problems, notes };
}

async function checkFiles(reader: BundleReader, problems: string[]): Promise<void> {
  const { info, dir } = reader;
  const listed = Object.entries(info.files ?? {});
  if (listed.length === 0 && info.state !== "running") problems.push("run.json lists no files");
  for (const [name, digest] of listed) {
    await checkDigest(path.join(dir, path.basename(name)), name, digest, problems);
  }
  for (const { file } of info.streams) {
    if (listed.length > 0 && !listed.some(([name]) => name === file)) {
      problems.push(`${file} is a stream of the run but has no hash`);
    }
  }
}

async function checkDigest(
  file: string,
  name: string,
  { bytes, sha256 }: FileDigest,
  problems: string[],
): Promise<void> {
  const stat = lstatSync(file, { throwIfNoEntry: false });
  if (stat === undefined) problems.push(`${name} is missing`);
  else if (!stat.isFile()) problems.push(`${name} is not a plain file`);
  else if (stat.size !== bytes) problems.push(`${name} has ${stat.size} bytes, not ${bytes}`);
  else if ((await hashFile(file)) !== sha256) {
    problems.push(`${name} was changed: its hash differs`);
  }
}

/** Every trace is there as it was written, and can be read. */
async function checkTraces(reader: BundleReader, problems: string[]): Promise<void> {
  for (const { target, caseId, runs, ...digest } of reader.traceIndex?.files ?? []) {
    const name = `the trace of ${caseId} on ${target}`;
    const file = traceFileIn(reader.dir, target, caseId);
    if (file === undefined) {
      problems.push(`${name} is missing`);
      continue;
    }
    const before = problems.length;
    await checkDigest(file, name, digest, problems);
    if (problems.length > before) continue;
    const found = (await reader.traces(target, caseId)).length;
    if (found !== runs) problems.push(`${name} holds ${found} runs, not ${runs}`);
  }
}

async function checkEvents(reader: BundleReader, problems: string[]): Promise<void> {
  const results: CaseResult[] = [];
  const ends = new Map<string, string>();
  let first: string | undefined;
  let last: string | undefined;
  for await (const event of reader.events()) {
    first ??= event.type;
    last = event.type;
    if (event.type === "result") results.push(event.result);
    if (event.type === "case-end") ends.set(JSON.stringify([event.target, event.id]), event.status);
  }
  if (first !== "run-start") problems.push("events.jsonl does not begin with the run's start");
  if (reader.info.state !== "running" && last !== "run-end") {
    problems.push("events.jsonl does not end with the run's end");
  }
  if (
    reader.info.state !== "running" &&
    resultsText(sortedResults(results)) !== resultsText(sortedResults(reader.results.cases))
  ) {
    problems.push("results.json does not say what the events say");
  }
  for (const { target, id, status } of reader.results.cases) {
    const end = ends.get(JSON.stringify([target, id]));
    if (end !== undefined && end !== status) {
      problems.push(`${id} on ${target} is ${status} in results.json but ended as ${end}`);
    }
  }
}

async function checkReports(
  reader: BundleReader,
  problems: string[],
  notes: string[],
): Promise<void> {
  const scratch = mkdtempSync(path.join(tmpdir(), "lockstep-verify-"));
  try {
    await renderAll(reader, scratch);
    for (const format of BUNDLE_FORMATS) {
      const name = REPORT_FILES[format];
      // A run whose disk was full ends without them, and says that it is incomplete.
      if (reader.info.state === "incomplete" && !existsSync(path.join(reader.dir, name))) {
        notes.push(`${name} was not made; \`lockstep report\` makes it`);
        continue;
      }
      compare(path.join(reader.dir, name), path.join(scratch, name), name, problems);
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function compare(kept: string, made: string, name: string, problems: string[]): void {
  const stat = lstatSync(kept, { throwIfNoEntry: false });
  if (stat === undefined) {
    problems.push(`${name} is missing; \`lockstep report\` makes it again`);
    return;
  }
  if (lstatSync(made).isDirectory()) {
    const there = stat.isDirectory() ? readdirSync(kept).toSorted() : [];
    const expected = readdirSync(made).toSorted();
    const same = there.length === expected.length && there.every((one, i) => one === expected[i]);
    if (!same) problems.push(`${name} does not hold the files that the evidence gives`);
    else
      for (const one of expected)
        compare(path.join(kept, one), path.join(made, one), `${name}/${one}`, problems);
    return;
  }
  if (!stat.isFile() || !readFileSync(kept).equals(readFileSync(made))) {
    problems.push(`${name} is not what the evidence gives`);
  }
}

async function hashFile(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}
