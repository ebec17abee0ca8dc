import path from "node:path";
import { pathToFileURL } from "node:url";
import { messageOf, packageRoot, UsageError } from "../base/index.ts";
import type { Scenario } from "./scenario.ts";

const REFERENCE = /^([a-z0-9][a-z0-9-]*)\/([a-z0-9][a-z0-9-]*)#([A-Za-z_]\w*)$/;

export interface ScenarioReference {
  readonly subject: string;
  readonly file: string;
  readonly name: string;
}

/**
 * Splits `<subject>/<file>#<export>`. Throws UsageError for anything else: a reference names a module
 * to import, so nothing but plain names is let through.
 */
export function parseReference(reference: string): ScenarioReference {
  const [, subject, file, name] = REFERENCE.exec(reference) ?? [];
  if (subject === undefined || file === undefined || name === undefined) {
    throw new UsageError(`${JSON.stringify(reference)} does not name a scenario`, {
      expected: "<subject>/<file>#<export>, e.g. smc-abi/fast-calls#callsUid",
    });
  }
  return { subject, file, name };
}

/** The module of a scenario file; undefined when there is no such file. */
export async function importScenarios(
  { subject, file }: Pick<ScenarioReference, "subject" | "file">,
  root = packageRoot,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const at = path.join(root, "dist", "suites", subject, `${file}.scenario.js`);
  try {
    return (await import(pathToFileURL(at).href)) as Readonly<Record<string, unknown>>;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw new UsageError(`scenario file ${subject}/${file} cannot be loaded`, {
      where: at,
      seen: messageOf(error),
      cause: error,
    });
  }
}

/** The exported scenario. Throws UsageError when there is none of that name. */
export async function loadScenario(reference: string, root = packageRoot): Promise<Scenario> {
  const parsed = parseReference(reference);
  const loaded = await importScenarios(parsed, root);
  const scenario = loaded?.[parsed.name];
  if (isScenario(scenario)) return scenario;
  throw new UsageError(`there is no scenario ${reference}`, {
    seen:
      loaded === undefined
        ? `no file suites/${parsed.subject}/${parsed.file}.scenario.ts`
        : `exports ${Object.keys(loaded).join(", ")}`,
  });
}

export function isScenario(value: unknown): value is Scenario {
  if (typeof value !== "object" || value === null) return false;
  const candidate = value as Partial<Scenario>;
  return (
    Array.isArray(candidate.conduits) &&
    Array.isArray(candidate.clauses) &&
    typeof candidate.run === "function"
  );
}

/** Node names the error; Jest's module loader has a code of its own only inside test runs. */
function isMissing(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND";
}
