import { Stats } from "node:fs";
import { stat } from "node:fs/promises";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { errorCode, messageOf, UsageError } from "../base/index.ts";
import type { Conduit, PhysicalMemory, PlatformPort, Window } from "../machine/index.ts";
import type { Outcome, RuleSetName, Vm, VmSpec } from "../mediator/index.ts";
import { CONDUITS, RULES } from "./combination.ts";

/** What a secure world of one's own is made from. */
export interface SecureWorldMachine {
  /** Non-secure memory as the secure world may access it. */
  readonly memory: PhysicalMemory;
  /** How the normal world reaches it; with `vm` it has to serve several guests. */
  readonly conduit: Conduit["kind"];
  /** Guests that there will be at once, where the scenario says so. */
  readonly vms: number | undefined;
  /** Virtual milliseconds since power-on. */
  readonly nowMs: () => number;
  /** Whether a normal-world interrupt is pending now; to be asked where one could be taken. */
  readonly interruptPending: () => boolean;
  /** Takes lines of the secure console. */
  readonly print: (line: string) => void;
}

/** What a mediator of one's own is made from. */
export interface MediatorMachine {
  /** Physical memory for its own use. */
  readonly heap: Window;
  /** Physical memory for the RAM of VMs. */
  readonly guests: Window;
  /** The rules whose expectations the scenario has. */
  readonly rules: RuleSetName;
  /** For whatever is random: the same seed must give the same run. */
  readonly seed: number;
  readonly nowMs: () => number;
}

/** A mediator as scenarios need it. Lockstep's own `Mediator` is one. */
export interface OwnMediator {
  /**
   * A new VM with zeroed RAM; it may be at other addresses than `spec.ram` asks for, as the VM's
   * conduit says. What is refused becomes a skip with its reason.
   */
  createVm(spec: VmSpec): Outcome<Pick<Vm, "conduit" | "destroy">>;
}

/**
 * What `lockstep run --target FILE` takes as the default export of an ES module: a secure world, a
 * mediator, or both, in place of Lockstep's. It becomes a column of its own beside the emulated
 * platform.
 */
export interface OwnTarget {
  /** Name of the column: lower-case letters, digits and dashes. */
  readonly name: string;
  /** Conduits that it can run scenarios on; all when left out. */
  readonly conduits?: readonly Conduit["kind"][];
  /** Rule sets whose expectations its mediator is held against; `strict` when left out. */
  readonly rules?: readonly RuleSetName[];
  /** Lockstep's model of OP-TEE when left out. Called once for each scenario. */
  createSecureWorld?(machine: SecureWorldMachine): Pick<PlatformPort, "smc" | "notifications">;
  /** Lockstep's mediator when left out. Called once for each scenario on conduit `vm`. */
  createMediator?(port: PlatformPort, machine: MediatorMachine): OwnMediator;
}

/**
 * Loads the target that a module exports; `file` is relative to `cwd`. Throws UsageError when the
 * module cannot be loaded or exports something else.
 */
export async function loadOwnTarget(file: string, cwd: string): Promise<OwnTarget> {
  const at = path.resolve(cwd, file);
  await mustBeFile(file, at);
  let loaded: { readonly default?: unknown };
  try {
    loaded = (await import(pathToFileURL(at).href)) as { readonly default?: unknown };
  } catch (error) {
    throw new UsageError(`--target ${file} cannot be loaded`, {
      where: at,
      seen: messageOf(error),
      cause: error,
    });
  }
  const problem = problemWith(loaded.default);
  if (problem === undefined) return loaded.default as OwnTarget;
  throw new UsageError(`--target ${file} is no target: ${problem}`, {
    where: at,
    expected: "a default export { name, createSecureWorld and/or createMediator }",
    next: "docs/extending.md shows complete ones.",
  });
}

/** Node's own words about a file that is not there name a file of ours as the one at fault. */
async function mustBeFile(file: string, at: string): Promise<void> {
  const found = await stat(at).catch((error: unknown) => error);
  if (found instanceof Stats && found.isFile()) return;
  throw new UsageError(`--target ${file} cannot be loaded`, {
    where: at,
    seen: found instanceof Stats ? "a folder" : missing(found),
    next: "Name an ES module; docs/extending.md shows complete ones.",
  });
}

const missing = (error: unknown): string =>
  errorCode(error) === "EACCES" ? "it may not be read by you" : "no such file";

function problemWith(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null) return "it has no object as default export";
  const { name, conduits, rules, createSecureWorld, createMediator } = value as Record<
    keyof OwnTarget,
    unknown
  >;
  if (typeof name !== "string" || !/^[a-z0-9][a-z0-9-]{0,63}$/.test(name)) {
    return "`name` is not lower-case letters, digits and dashes";
  }
  if (!isListOf(conduits, CONDUITS)) return `\`conduits\` is not a list of ${CONDUITS.join(", ")}`;
  if (!isListOf(rules, RULES)) return `\`rules\` is not a list of ${RULES.join(", ")}`;
  for (const [key, one] of Object.entries({ createSecureWorld, createMediator })) {
    if (one !== undefined && typeof one !== "function") return `\`${key}\` is not a function`;
  }
  if (createSecureWorld === undefined && createMediator === undefined) {
    return "it brings neither a secure world nor a mediator";
  }
  return undefined;
}

/** Absent, or some of `known`. */
function isListOf(value: unknown, known: readonly string[]): boolean {
  if (value === undefined) return true;
  return Array.isArray(value) && value.length > 0 && value.every((one) => known.includes(one));
}
