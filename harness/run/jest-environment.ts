import type { Circus } from "@jest/types";
import type { EnvironmentContext, JestEnvironmentConfig } from "@jest/environment";
import { TestEnvironment } from "jest-environment-node";
import path from "node:path";
import { messageOf } from "../base/index.ts";
import {
  caseIdOf,
  type FromSuite,
  isSelected,
  matchesFilter,
  nameOn,
  SUITE_ENV,
  type SuiteCaseEnd,
  type SuiteCombination,
  type SuiteSetup,
  type ToSuite,
} from "./channel.ts";

/** Marks an error that means `skip(reason)`; recognised by its name, for it crosses realms. */
const SKIP_NAME = "LockstepSkip";
/** An assertion of the test itself, as opposed to something that broke around it. */
const ASSERTION_NAMES = new Set(["JestAssertionError", "AssertionError", "CaseFailed"]);
const MAX_REASON = 2000;
/** The longest that a timer can be set to. */
const NO_TIMEOUT_MS = 2 ** 31 - 1;

type Pending = { resolve: (value: unknown) => void; reject: (error: Error) => void };

function named(name: string, message: string): Error {
  const error = new Error(message);
  error.name = name;
  return error;
}

function plainReason(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what it removes
  return text.replaceAll(/\u001b\[[0-9;]*m/g, "").slice(0, MAX_REASON);
}

/**
 * The environment of every file under `suites/`. It holds the only channel to the target, numbers
 * the cases, applies the filter, and turns a skip that is known only at run time into a real skip.
 */
export default class SuiteEnvironment extends TestEnvironment {
  readonly #suite: string;
  readonly #setup: SuiteSetup;
  readonly #pending = new Map<number, Pending>();
  readonly #seen = new Set<string>();
  #seq = 0;
  #caseId = "";

  constructor(config: JestEnvironmentConfig, context: EnvironmentContext) {
    super(config, context);
    const setup = process.env[SUITE_ENV];
    if (setup === undefined || process.send === undefined) {
      throw new Error("suites run as a child of `lockstep run`; start them with that command");
    }
    this.#setup = JSON.parse(setup) as SuiteSetup;
    this.#suite = path.basename(path.dirname(context.testPath));
  }

  override async setup(): Promise<void> {
    await super.setup();
    process.on("message", this.#onMessage);
    const lockstepTarget = {
      board: this.#setup.board,
      xtestCases: this.#setup.xtest,
      combinations: (reference: string) => this.#combinationsOf(reference),
      nameOn,
      run: async (reference: string, args: unknown, on?: SuiteCombination) =>
        await this.#ask((seq) => ({
          kind: "run",
          seq,
          caseId: this.#caseId,
          reference,
          args,
          ...(on === undefined ? {} : { on }),
        })),
      xtest: async (id: string) =>
        await this.#ask((seq) => ({ kind: "xtest", seq, caseId: this.#caseId, id })),
      skip: (reason: string) => {
        throw named(SKIP_NAME, reason);
      },
    };
    Object.assign(this.global, { lockstepTarget });
  }

  override async teardown(): Promise<void> {
    process.off("message", this.#onMessage);
    await super.teardown();
  }

  handleTestEvent: Circus.EventHandler = (event, state) => {
    switch (event.name) {
      case "run_start":
        // The harness has a deadline for everything that a target does; Jest must not have another.
        // (Circus' own state decides: a project's `testTimeout` is not looked at.)
        state.testTimeout = NO_TIMEOUT_MS;
        send({ kind: "announce", cases: this.#selectedIn(state.rootDescribeBlock) });
        break;
      case "test_start":
        this.#start(event.test);
        break;
      case "test_done":
        this.#done(event.test);
        break;
      case "test_skip":
        if (this.#seen.has(this.#idOf(event.test))) {
          this.#end(event.test, "skip", "skipped in the suite's source");
        }
        break;
      default:
        break;
    }
  };

  #selectedIn(block: Circus.DescribeBlock): number {
    return block.children
      .map((child) => {
        if (child.type === "describeBlock") return this.#selectedIn(child);
        return this.#isWanted(child) ? 1 : 0;
      })
      .reduce((sum, count) => sum + count, 0);
  }

  #isWanted(test: Circus.TestEntry): boolean {
    const { filter, narrowing } = this.#setup;
    return (
      isSelected(narrowing, fullName(test)) &&
      matchesFilter(filter, this.#idOf(test), this.#titleOf(test))
    );
  }

  /** What a scenario lists; empty where that is one combination only. */
  #combinationsOf(reference: string): readonly SuiteCombination[] {
    return this.#setup.combinations?.find(({ of }) => of.includes(reference))?.on ?? [];
  }

  #start(test: Circus.TestEntry): void {
    const title = this.#titleOf(test);
    const caseId = this.#idOf(test);
    if (!this.#isWanted(test)) {
      test.mode = "skip";
      return;
    }
    if (this.#seen.has(caseId)) {
      throw new Error(`two cases of suite ${this.#suite} share the id ${caseId}`);
    }
    this.#seen.add(caseId);
    this.#caseId = caseId;
    send({ kind: "case-start", caseId, title });
  }

  #done(test: Circus.TestEntry): void {
    const errors = test.errors.map((entry: unknown) => (Array.isArray(entry) ? entry[0] : entry));
    const skip = errors.find((error: unknown) => nameOf(error) === SKIP_NAME);
    if (skip !== undefined && errors.length === 1) {
      test.errors = [];
      test.status = "skip";
      this.#end(test, "skip", messageOf(skip));
      return;
    }
    const first = errors[0];
    if (first === undefined) {
      this.#end(test, "pass");
      return;
    }
    this.#end(test, isAssertion(first) ? "fail" : "error", textOf(first));
  }

  #end(test: Circus.TestEntry, status: SuiteCaseEnd["status"], reason?: string): void {
    const base = {
      caseId: this.#idOf(test),
      suite: this.#suite,
      title: this.#titleOf(test),
      status,
    };
    send({
      kind: "case-end",
      end: reason === undefined ? base : { ...base, reason: plainReason(reason) },
    });
  }

  #idOf(test: Circus.TestEntry): string {
    return caseIdOf(this.#suite, fullName(test));
  }

  #titleOf(test: Circus.TestEntry): string {
    const name = fullName(test);
    if (this.#suite !== "xtest") return name;
    return this.#setup.xtest.find(({ id }) => id === name)?.title ?? name;
  }

  async #ask(make: (seq: number) => FromSuite): Promise<unknown> {
    const seq = ++this.#seq;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#pending.set(seq, { resolve, reject });
    });
    send(make(seq));
    return await answer;
  }

  readonly #onMessage = (raw: unknown): void => {
    const message = raw as ToSuite;
    const pending = this.#pending.get(message.seq);
    if (pending === undefined) return;
    this.#pending.delete(message.seq);
    switch (message.kind) {
      case "value":
        pending.resolve(message.value);
        break;
      case "skipped":
        pending.reject(named(SKIP_NAME, message.reason));
        break;
      case "failed":
        pending.reject(named(message.name, message.message));
        break;
      default:
        message satisfies never;
    }
  };
}

function send(message: FromSuite): void {
  process.send?.(message);
}

function fullName(test: Circus.TestEntry): string {
  const names = [test.name];
  let block: Circus.DescribeBlock | undefined = test.parent;
  while (block !== undefined && block.name !== "ROOT_DESCRIBE_BLOCK") {
    names.unshift(block.name);
    block = block.parent;
  }
  return names.join(" ");
}

function nameOf(error: unknown): string {
  return typeof error === "object" && error !== null && "name" in error ? String(error.name) : "";
}

function isAssertion(error: unknown): boolean {
  if (typeof error === "object" && error !== null && "matcherResult" in error) return true;
  return ASSERTION_NAMES.has(nameOf(error));
}

function textOf(error: unknown): string {
  if (typeof error === "object" && error !== null && "message" in error) {
    return String(error.message);
  }
  return String(error);
}
