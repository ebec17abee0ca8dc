import { once } from "node:events";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import path from "node:path";
import { errorCode, EXIT, InterruptedError, PrivateFile, UsageError } from "../../../base/index.ts";
import type { BatchCounts, BatchFormat, BatchHuk, Sealer } from "../../../provision/index.ts";
import { findHukSource, HUK_SOURCES, hukOf, type HukSource } from "../../../rpmb/index.ts";
import type { CliContext } from "../../context.ts";
import { readHexInput } from "../../hex-input.ts";
import { type SealingFlags, sealingOf, wantsSealing } from "../../key-sealing.ts";
import { hukInput, type RequestFlags, TEST_KEY } from "./derive-request.ts";

export interface BatchFlags extends RequestFlags, SealingFlags {
  readonly batch: string;
  readonly format?: BatchFormat;
  readonly out?: string;
  readonly hukFile?: readonly string[];
  readonly strict?: boolean;
  readonly json?: boolean;
  readonly explain?: boolean;
  readonly outKey?: string;
}

/** `lockstep rpmb derive --batch`. */
export async function deriveMany(context: CliContext, flags: BatchFlags): Promise<void> {
  refuseSingle(flags);
  const { deriveBatch, makeSealer } = await import("../../../provision/index.ts");
  const source = valueSource(flags.source);
  const format = flags.format ?? formatOf(flags.batch);
  const references = await referencesOf(context, flags, source);
  const huk = await commonHuk(context, flags, references);
  const sealer = await sealerOf(context, flags, makeSealer);
  const input = await openInput(context, flags.batch);
  const counts: BatchCounts = { rows: 0, failed: 0, oddCids: 0 };
  const style = context.style.err;
  const pieces = deriveBatch(
    input.bytes,
    {
      format,
      source,
      references,
      compat: flags.compat,
      strict: flags.strict === true,
      ...(huk !== undefined && { huk }),
      ...(sealer !== undefined && { sealer }),
      ...(input.noValues !== undefined && { noValues: input.noValues }),
      report: (line, what, failed) => {
        context.err(
          `line ${line}: ${failed ? style.red("failed:") : style.yellow("warning:")} ${what}`,
        );
      },
    },
    counts,
  );
  const out = flags.out ?? "-";
  if (out === "-") await toStdout(context, pieces, counts);
  else await toFile(context, path.resolve(context.cwd, out), pieces, counts);
  summary(context, flags, counts);
  if (counts.failed > 0) context.setExit(EXIT.failed);
}

function refuseSingle(flags: BatchFlags): void {
  const single: readonly (readonly [given: boolean, flag: string])[] = [
    [flags.cid !== undefined, "--cid"],
    [flags.explain === true, "--explain"],
    [flags.outKey !== undefined, "--out-key"],
    [flags.dieId !== undefined, "--die-id"],
    [flags.usage === "ssk", "--usage ssk"],
    [flags.plain === true, "--plain"],
    [flags.passphrase === true, "--passphrase"],
    [flags.passphraseFd !== undefined, "--passphrase-fd"],
  ];
  for (const [given, flag] of single) {
    if (given) throw new UsageError(`${flag} is of a single derivation, not of --batch`);
  }
  if (flags.json === true && (flags.out ?? "-") === "-") {
    throw new UsageError("--json is the summary, and stdout has the rows", {
      next: "Put the rows into a file with --out FILE.",
    });
  }
  if (flags.huk === "-" && flags.batch === "-") {
    throw new UsageError("only one of --huk and --batch can be read from stdin");
  }
}

function formatOf(name: string): BatchFormat {
  const extension = path.extname(name).toLowerCase();
  if (extension === ".csv") return "csv";
  if (extension === ".jsonl" || extension === ".ndjson") return "jsonl";
  throw new UsageError("the name of the batch does not say what format it has", {
    expected: "--format csv or --format jsonl",
  });
}

/** The source that values in rows and files are of: the one named, where it takes a value. */
function valueSource(name: string | undefined): HukSource {
  const named = findHukSource(name ?? "given");
  const source = named?.takes.length === 0 ? undefined : named;
  const [fallback] = HUK_SOURCES.filter((one) => one.name === "given");
  const found = source ?? fallback;
  if (found === undefined) throw new UsageError(`there is no source "${name}"`);
  return found;
}

async function referencesOf(
  context: CliContext,
  flags: BatchFlags,
  source: HukSource,
): Promise<Map<string, BatchHuk>> {
  const references = new Map<string, BatchHuk>([[TEST_KEY, TEST_KEY]]);
  for (const one of HUK_SOURCES) if (one.takes.length === 0) references.set(one.name, hukOf(one));
  for (const text of flags.hukFile ?? []) {
    const [, name, value] = /^([\w.-]{1,64})=(@.+)$/.exec(text) ?? [];
    if (name === undefined || value === undefined) {
      throw new UsageError("--huk-file takes a name and a file", {
        expected: "NAME=@FILE, where NAME is of letters, digits, dots, dashes and underscores",
      });
    }
    if (references.has(name) || findHukSource(name) !== undefined) {
      throw new UsageError(`the name ${name} is taken`);
    }
    const bytes = await readHexInput(
      context,
      value,
      hukInput(context, flags, source, `the HUK ${name}`),
    );
    references.set(name, hukOf(source, bytes));
  }
  return references;
}

/** What rows are derived from that name nothing. */
async function commonHuk(
  context: CliContext,
  flags: BatchFlags,
  references: ReadonlyMap<string, BatchHuk>,
): Promise<BatchHuk | undefined> {
  const fixed = flags.source === undefined ? undefined : references.get(flags.source);
  if (flags.huk === undefined) return fixed;
  if (fixed !== undefined) throw new UsageError(`--source ${flags.source} takes no --huk`);
  const source = valueSource(flags.source);
  return hukOf(source, await readHexInput(context, flags.huk, hukInput(context, flags, source)));
}

async function sealerOf(
  context: CliContext,
  flags: BatchFlags,
  make: (sealing: { readonly recipients: readonly string[] }) => Promise<Sealer>,
): Promise<Sealer | undefined> {
  if (!wantsSealing(flags)) return undefined;
  const sealing = await sealingOf(context, flags);
  if (sealing === "plain" || !("recipients" in sealing)) {
    throw new UsageError("keys of a batch are encrypted for recipients");
  }
  return await make(sealing);
}

interface Input {
  readonly bytes: AsyncIterable<Uint8Array>;
  readonly noValues?: UsageError;
}

async function openInput(context: CliContext, name: string): Promise<Input> {
  if (name === "-") return { bytes: context.streams.stdin };
  const file = path.resolve(context.cwd, name);
  const found = await stat(file).catch((error: unknown) => {
    throw new UsageError("cannot read the batch", {
      where: file,
      seen: errorCode(error) ?? "an error",
      cause: error,
    });
  });
  if (found.isDirectory()) throw new UsageError("the batch is a folder", { where: file });
  const bytes = createReadStream(file);
  if (!found.isFile() || (found.mode & 0o077) === 0) return { bytes };
  const noValues = new UsageError(
    "the batch holds hardware unique keys and is open to other users",
    {
      where: file,
      expected: "mode 0600",
      seen: `mode 0${(found.mode & 0o777).toString(8)}`,
      next: "Close it with `chmod 600`, and ask who could read it until now.",
    },
  );
  return { bytes, noValues };
}

async function toFile(
  context: CliContext,
  file: string,
  pieces: AsyncIterable<Uint8Array>,
  counts: BatchCounts,
): Promise<void> {
  const out = await PrivateFile.create(file);
  try {
    for await (const piece of pieces) {
      if (context.abort.aborted) throw new InterruptedError("interrupted; nothing was written");
      await out.write(piece);
    }
    refuseNothing(counts);
    await out.commit();
  } finally {
    await out.discard();
  }
}

async function toStdout(
  context: CliContext,
  pieces: AsyncIterable<Uint8Array>,
  counts: BatchCounts,
): Promise<void> {
  const { stdout } = context.streams;
  for await (const piece of pieces) {
    if (context.abort.aborted) throw new InterruptedError("interrupted");
    // Whoever read it has gone.
    if (stdout.destroyed || stdout.errored !== null) return;
    if (!stdout.write(piece)) {
      await Promise.race([once(stdout, "drain"), once(stdout, "close")]).catch(() => {});
    }
  }
  refuseNothing(counts);
}

function refuseNothing(counts: BatchCounts): void {
  if (counts.rows === 0) throw new UsageError("the batch has no row");
}

function summary(context: CliContext, flags: BatchFlags, counts: BatchCounts): void {
  const { rows, failed, oddCids } = counts;
  const derived = rows - failed;
  if (flags.json === true) {
    const document = { rows, derived, failed, wrongCrc: oddCids, out: flags.out };
    context.out(`${JSON.stringify(document, undefined, 2)}\n`);
    return;
  }
  const more = [
    ...(failed > 0 ? [`${failed} row${failed === 1 ? "" : "s"} failed`] : []),
    ...(oddCids > 0 ? [`${oddCids} with a wrong CRC in the CID`] : []),
  ];
  const keys = `${derived} key${derived === 1 ? "" : "s"} derived`;
  context.err([keys, ...more].join(", "));
}
