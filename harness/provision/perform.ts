import { type KeyObject, randomBytes } from "node:crypto";
import { hostname, userInfo } from "node:os";
import {
  type ErrorDetails,
  InfrastructureError,
  LockstepError,
  messageOf,
  UsageError,
} from "../base/index.ts";
import {
  keyId,
  type KeyJudgement,
  type NamedKey,
  type RpmbChannel,
  verifyKey,
} from "../rpmb/index.ts";
import { maskKeys } from "../run/index.ts";
import { type ConfirmationBinding, consumeConfirmation } from "./confirmation.ts";
import { type GuardClock, guardClock } from "./guard-clock.ts";
import type { LedgerFact, LedgerIntent, PartEnd } from "./ledger/entry.ts";
import { Ledger } from "./ledger/ledger.ts";
import { sameForKeys } from "./plan/hazards-part.ts";
import type { Plan } from "./plan/plan.ts";

/** A part that can be asked again and again. */
export interface LivePart {
  /** Nothing but reads is sent through it here. */
  readonly channel: RpmbChannel;
  /** 32 lower-case hex digits, as the part reports them at this moment. */
  cid(): Promise<string>;
}

export interface PerformOptions {
  readonly plan: Plan;
  readonly part: LivePart;
  /** The key that the part is to have; undefined where only OP-TEE knows it. */
  readonly key?: KeyObject;
  /** Keys that would explain another outcome. */
  readonly known?: readonly NamedKey[];
  /** What the person typed. */
  readonly typedCid: string;
  readonly code: string;
  readonly env: NodeJS.ProcessEnv;
  readonly ledger: string;
  readonly version: string;
  /** The irreversible step; gives what is worth keeping of it, nothing secret. */
  readonly act: () => Promise<string>;
  readonly clock?: GuardClock;
}

export interface Performed {
  readonly id: string;
  readonly judgement: KeyJudgement;
  readonly note: string;
  /** Attempts of before whose end was found out now. */
  readonly settled: readonly LedgerIntent[];
}

/** What a confirmation code is bound to. */
export const bindingOf = (plan: Plan): ConfirmationBinding => ({
  plan: plan.hash,
  board: plan.board.name,
  cid: plan.part?.cid ?? "",
  keyId: plan.key?.id ?? "",
});

/**
 * Programs a part, behind the guard. In this order: nothing in the plan stands against it; the unit is
 * expendable, by its board file, or emulated by Lockstep; the CID that was typed is the one that the
 * part reports now; the part says that it is blank; the ledger can be written; the code is good, and is
 * used up; the intent is on the disk; the part is still the same. Only then the act, and after it a read
 * under a fresh nonce, and the ledger's entry. Throws UsageError where the guard refuses,
 * InfrastructureError where something fails; what was done is then in the ledger.
 */
export async function perform(options: PerformOptions): Promise<Performed> {
  const { plan, part, key, env, code, clock = guardClock } = options;
  refusePlan(plan);
  if (key !== undefined && keyId(key) !== plan.key?.id) {
    throw new UsageError("the key is not the one of the plan");
  }
  refuseTyped(options.typedCid, await part.cid());
  const keys = keysOf(options);
  const before = await verifyKey(part.channel, keys);
  const intent = intentOf(options);
  const settled = await withLedger(options.ledger, (ledger) => {
    const found = settle(ledger, plan, before);
    if (before.verdict !== "none programmed") throw notBlank(before);
    consumeConfirmation(env, code, bindingOf(plan), clock);
    ledger.append(intent);
    return found;
  });
  const cid = await part.cid().catch((error: unknown) => messageOf(error));
  if (cid !== plan.part?.cid) {
    const reason = "another part was there when it came to it; nothing was sent";
    await end(options, { kind: "failed", id: intent.id, cid: intent.cid, part: "unknown", reason });
    throw new UsageError("the part was replaced between plan and act", {
      expected: plan.part?.cid ?? "",
      seen: cid,
      next: "Nothing was written. Make a plan for the part that is there now.",
    });
  }
  return { id: intent.id, ...(await act(options, keys, intent.id)), settled };
}

/** Opens the ledger for as long as `work` takes: other parts are programmed meanwhile. */
async function withLedger<T>(file: string, work: (ledger: Ledger) => T): Promise<T> {
  const ledger = await Ledger.open(file);
  try {
    return work(ledger);
  } finally {
    await ledger.close();
  }
}

/** The entry that ends an attempt. Throws InfrastructureError that says what is true all the same. */
async function end(options: PerformOptions, fact: LedgerFact): Promise<void> {
  try {
    await withLedger(options.ledger, (ledger) => ledger.append(fact));
  } catch (error) {
    throw new InfrastructureError("what became of the part could not be written to the ledger", {
      where: options.ledger,
      seen: `${fact.kind === "done" ? "the part has the key of the plan" : `the attempt: ${fact.kind}`}; ${messageOf(error)}`,
      next: "The ledger keeps the attempt open. Mend it, and make the plan once more: it closes the entry by what the part shows.",
      cause: error,
    });
  }
}

function refusePlan({ obstacles, needsExpendable, board, part }: Plan): void {
  const [first, ...more] = obstacles;
  if (first !== undefined || part === undefined || (needsExpendable && !board.expendable)) {
    throw new UsageError(`this plan is not performed: ${first ?? "the part was not asked"}`, {
      ...(board.file !== "" && { where: board.file }),
      ...(more.length > 0 && { seen: `${more.length} more: ${more.join("; ")}` }),
      next: "The plan, without --perform, says how each is mended.",
    });
  }
}

function refuseTyped(typed: string, seen: string): void {
  if (/^[0-9a-f]{32}$/i.test(typed) && typed.toLowerCase() === seen) return;
  throw new UsageError("the CID that was typed is not that of the part", {
    expected: "--cid with all 32 digits that the part reports",
    seen: /^[0-9a-f]{32}$/i.test(typed)
      ? `${typed}, where the part reports ${seen}`
      : `${typed.length} characters`,
    next: "Read the CID on the part's own label or in the plan, and make sure that this is the part.",
  });
}

function keysOf({ key, plan, known = [] }: PerformOptions): NamedKey[] {
  const own: NamedKey[] =
    key === undefined
      ? []
      : [{ name: plan.key?.source ?? "plan", key, how: "the key of the plan" }];
  return [...own, ...known];
}

function notBlank({ verdict, matches, reason }: KeyJudgement): UsageError {
  return new UsageError("the part is not blank", {
    expected: "a part that says that no key is programmed",
    seen:
      matches.length > 0
        ? `the key of ${matches.map(({ name }) => name).join(" = ")}`
        : `${verdict}: ${reason}`,
    next: "A key is programmed once. See `lockstep rpmb verify`.",
  });
}

/** Closes attempts on this part whose end was never written, by what the part shows now. */
function settle(ledger: Ledger, plan: Plan, now: KeyJudgement): LedgerIntent[] {
  const open = ledger.reading.open.filter(({ cid }) => sameForKeys(cid, plan.part?.cid ?? ""));
  const left = endOf(now);
  if (left === "unknown") return [];
  for (const { id, cid } of open) {
    const [match] = now.matches;
    ledger.append({
      kind: "settled",
      id,
      cid,
      part: left,
      keyId: match === undefined ? "" : keyId(match.key),
      reason: `the part was asked again: ${now.verdict}`,
    });
  }
  return open;
}

function endOf({ verdict }: KeyJudgement): PartEnd {
  if (verdict === "none programmed") return "blank";
  return verdict === "proven" || verdict === "none of these" ? "programmed" : "unknown";
}

function intentOf({ plan, version }: PerformOptions) {
  return {
    kind: "intent",
    id: randomBytes(8).toString("hex"),
    board: plan.board.name,
    lifeCycle: plan.board.lifeCycle,
    part: plan.part?.where ?? "",
    emulated: plan.part?.emulated ?? false,
    cid: plan.part?.cid ?? "",
    keyId: plan.key?.id ?? "",
    route: plan.route,
    plan: plan.hash,
    by: userName(),
    host: hostname(),
    lockstep: version,
  } as const;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? "");
  }
}

async function act(
  options: PerformOptions,
  keys: readonly NamedKey[],
  id: string,
): Promise<{ judgement: KeyJudgement; note: string }> {
  const { plan, part, key } = options;
  const cid = plan.part?.cid ?? "";
  let note = "";
  let failure: unknown;
  try {
    note = await options.act();
  } catch (error) {
    failure = error;
  }
  let judgement: KeyJudgement;
  try {
    judgement = await verifyKey(part.channel, keys);
  } catch (error) {
    // What the part has is not known: the intent stays open, and the next run finds out.
    throw new InfrastructureError("after programming, the part could not be asked what it has", {
      seen: tell(failure ?? error),
      next: "The ledger keeps the attempt open. Bring the board up and run `lockstep rpmb verify`, then the plan again.",
      cause: failure ?? error,
    });
  }
  const [match] = judgement.matches;
  const right = key === undefined ? endOf(judgement) === "programmed" : match?.key === key;
  if (right && judgement.verdict !== "replayable") {
    const counter = judgement.counter?.value ?? -1;
    const remark = failure === undefined ? note : `after an error: ${tell(failure)}`;
    await end(options, {
      kind: "done",
      id,
      cid,
      keyId: match === undefined ? "" : keyId(match.key),
      verdict: judgement.verdict,
      writeCounter: counter,
      note: remark.slice(0, 1000),
    });
    return { judgement, note: remark };
  }
  const left = endOf(judgement);
  const reason = failure === undefined ? judgement.reason : tell(failure);
  if (left !== "unknown") {
    await end(options, { kind: "failed", id, cid, part: left, reason: reason.slice(0, 1000) });
  }
  throw failureOf(failure, judgement, left);
}

/**
 * What an error says, with what was seen. It goes to the ledger, and may quote a console on which a
 * write-key build has just printed the key.
 */
const tell = (error: unknown): string =>
  maskKeys(
    error instanceof LockstepError && error.seen !== undefined
      ? `${error.message}: ${error.seen}`
      : messageOf(error),
  );

function failureOf(failure: unknown, judgement: KeyJudgement, left: PartEnd): LockstepError {
  const [match] = judgement.matches;
  const seen =
    left === "programmed"
      ? `the part has another key: ${match?.name ?? "none that is known here"}`
      : `${judgement.verdict}: ${judgement.reason}`;
  const details: ErrorDetails = {
    expected: "the key of the plan, proven under a fresh nonce",
    seen: failure === undefined ? seen : `${tell(failure)}; then ${seen}`,
    next:
      left === "blank"
        ? "The part is still blank. Mend the cause and make a new plan; the code is used up."
        : "Do not try again before `lockstep rpmb verify` has told what the part has.",
    cause: failure,
  };
  return new InfrastructureError("the part was not programmed as planned", details);
}
