import { readFile, readdir } from "node:fs/promises";
import path from "node:path";
import type { ErrorObject } from "ajv";
import { didYouMean, messageOf, packageRoot, UsageError } from "../../base/index.ts";
import { type ExpectedCase, type ExpectedList, plainVersion, type RunRecord } from "./model.ts";
import { EXPECTED_SCHEMA, type ExpectedDocument } from "./schema.ts";

/** Folder of the lists that come with lockstep. */
export const expectationsDir = path.join(packageRoot, "boards", "expectations");

const FILE_NAME = /^xtest-(\d+\.\d+(?:\.\d+)?)\.yaml$/;

/** Versions of xtest for which a list comes with lockstep, newest first. */
export async function bundledVersions(dir = expectationsDir): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(dir);
  } catch {
    return [];
  }
  return names
    .flatMap((name) => FILE_NAME.exec(name)?.[1] ?? [])
    .toSorted((a, b) => b.localeCompare(a, "en", { numeric: true }));
}

/**
 * The list for `what`: a version that comes with lockstep, or a file. Throws UsageError with file,
 * line and column when it is missing or wrong.
 */
export async function loadExpected(what: string): Promise<ExpectedList> {
  if (!/^\d+\.\d+(?:\.\d+)?$/.test(what)) return await loadExpectedFile(path.resolve(what));
  const versions = await bundledVersions();
  if (!versions.includes(what)) {
    throw new UsageError(`no cases are recorded for xtest ${what}`, {
      expected: versions.join(", ") || "a file",
      next: "Name a file, or record a run with `lockstep xtest expect LOG`",
    });
  }
  return await loadExpectedFile(path.join(expectationsDir, `xtest-${what}.yaml`));
}

/**
 * The list for the xtest on a board, by the version of its package (`4.5.0-2`) or what else is
 * known of it; the newest list where nothing is known or none is recorded. `exact` tells which.
 */
export async function expectedFor(
  version: string | undefined,
): Promise<{ readonly list: ExpectedList; readonly exact: boolean }> {
  const versions = await bundledVersions();
  const wanted = version === undefined ? undefined : plainVersion(version);
  const exact = versions.find((one) => one === wanted);
  const chosen = exact ?? versions[0];
  if (chosen === undefined) {
    throw new UsageError("no expected cases are installed", { where: expectationsDir });
  }
  return { list: await loadExpected(chosen), exact: exact !== undefined };
}

export async function loadExpectedFile(file: string): Promise<ExpectedList> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    throw new UsageError("cannot read the expected cases", {
      where: file,
      seen: messageOf(error),
      next: "Give a file that exists, or a version such as 4.5.0",
      cause: error,
    });
  }
  return await parseExpected(text, file);
}

/** `file` is for messages only. */
export async function parseExpected(text: string, file: string): Promise<ExpectedList> {
  const [{ isMap, LineCounter, parseDocument }, { Ajv }] = await Promise.all([
    import("yaml"),
    import("ajv"),
  ]);
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number | undefined): string => {
    const { line, col } = lines.linePos(offset ?? 0);
    return `${file}:${line}:${col}`;
  };
  const broken = document.errors[0];
  if (broken !== undefined) {
    throw new UsageError(`not valid YAML: ${broken.message}`, { where: at(broken.pos[0]) });
  }
  const content: unknown = document.toJS({ maxAliasCount: 100 });
  const validate = new Ajv({
    allErrors: true,
    strict: true,
    verbose: true,
  }).compile<ExpectedDocument>(EXPECTED_SCHEMA);
  if (validate(content)) return build(content, file);
  const errors = validate.errors ?? [];
  // A misspelt key is the cause where a required one is missing as well.
  const error =
    errors.find((one) => one.keyword === "additionalProperties") ??
    errors.find((one) => one.keyword === "propertyNames") ??
    errors[0];
  const keys = keysOf(error?.instancePath ?? "");
  const node: unknown = keys.length === 0 ? document.contents : document.getIn(keys, true);
  const named = String(error?.params["additionalProperty"] ?? error?.params["propertyName"] ?? "");
  const pair = isMap(node) ? node.items.find((item) => keyText(item.key) === named) : undefined;
  throw new UsageError(explain(error, keys), { where: at(offsetOf(pair?.key ?? node)) });
}

function keyText(key: unknown): string {
  return typeof key === "object" && key !== null && "value" in key
    ? String(key.value)
    : String(key);
}

function keysOf(pointer: string): string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((key) => key.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function offsetOf(node: unknown): number | undefined {
  if (typeof node !== "object" || node === null || !("range" in node)) return undefined;
  const range = node.range;
  return Array.isArray(range) && typeof range[0] === "number" ? range[0] : undefined;
}

function explain(error: ErrorObject | undefined, keys: readonly string[]): string {
  const where = keys.length === 0 ? "the file" : keys.join(".");
  const params: Record<string, unknown> = error?.params ?? {};
  switch (error?.keyword) {
    case "additionalProperties":
      return unknownKey(String(params["additionalProperty"]), where, error.parentSchema);
    case "required":
      return `"${String(params["missingProperty"])}" is missing in ${where}`;
    case "propertyNames":
      return `"${String(params["propertyName"])}" is no valid name in ${where}`;
    case undefined:
      return "not a list of expected cases";
    default:
      return `${where} ${error?.message ?? "is wrong"}`;
  }
}

function unknownKey(key: string, where: string, schema: unknown): string {
  const properties: unknown =
    typeof schema === "object" && schema !== null && "properties" in schema
      ? schema.properties
      : {};
  const guess = didYouMean(key, Object.keys(properties ?? {}));
  return `unknown key "${key}" in ${where}${guess === undefined ? "" : `; ${guess}`}`;
}

function build(document: ExpectedDocument, file: string): ExpectedList {
  const cases: ExpectedCase[] = [];
  const ids = new Set<string>();
  for (const [suite, titles] of Object.entries(document.suites)) {
    for (const [id, title] of Object.entries(titles)) {
      if (ids.has(id)) throw new UsageError(`case ${id} stands in two suites`, { where: file });
      ids.add(id);
      cases.push({ id, title, suite });
    }
  }
  const records = (document.records ?? []).map((record): RunRecord => {
    const name = `record ${record.optee} on ${record.board}`;
    const { min, max } = record.subtests;
    if (min > max) {
      throw new UsageError(`${name}: subtests min ${min} is above max ${max}`, { where: file });
    }
    const subcases = new Map<string, readonly string[]>();
    for (const [id, list] of Object.entries(record.subcases ?? {})) {
      if (!ids.has(id)) throw new UsageError(`${name}: ${id} is no case`, { where: file });
      subcases.set(
        id,
        list.split(" ").map((number) => `${id}.${number}`),
      );
    }
    const skips = new Map(Object.entries(record.skips ?? {}));
    for (const id of skips.keys()) {
      const owner = id.split(".")[0] ?? id;
      if (!ids.has(owner)) throw new UsageError(`${name}: ${id} is no case`, { where: file });
      if (owner !== id && subcases.get(owner)?.includes(id) !== true) {
        throw new UsageError(`${name}: skip ${id} is no recorded subcase`, { where: file });
      }
    }
    return {
      optee: record.optee,
      board: record.board,
      level: record.level,
      suite: record.suite,
      remark: record.remark,
      subtests: { min, max },
      subcases,
      skips,
    };
  });
  return { xtest: document.xtest, cases, records, file };
}
