import type {
  ContextLine,
  Difference,
  DifferenceKind,
  ExplainedDifference,
  FieldDifference,
  Trace,
} from "../../run/index.ts";
import { canonicalTrace } from "./canonical.ts";
import { clausesOfDifference } from "./clause-of.ts";
import type { CanonicalField, CanonicalRecord, FieldPart, FieldValue } from "./model.ts";
import { pairRecords, type Step } from "./pairing.ts";
import { recordLine, valueText } from "./render.ts";
import { Bijection, type Side } from "./symbols.ts";

/** Names an expectation and its reason for a difference that it explains. */
export type Explain = (
  difference: Difference,
) => { readonly expectation: string; readonly reason: string } | undefined;

export interface CompareTracesOptions {
  /** What is known already; nothing where left out. */
  readonly explain?: Explain;
  /** Compare how the scenario ended and what it returned, and nothing before: what runs in parallel has no one order. */
  readonly resultsOnly?: boolean;
}

export interface TraceComparison {
  /** Steps that both traces have. */
  readonly compared: number;
  readonly explained: readonly ExplainedDifference[];
  /** The first difference that nothing explains. */
  readonly cause?: Difference;
  /** Differences after it. */
  readonly echoes: number;
}

/** Records of context on either side of a difference. */
const CONTEXT = 4;
/** Differences that are explained at most in one run, for the size of reports. */
const MAX_EXPLAINED = 200;
/** Differing fields that are listed of one record. */
const MAX_FIELDS = 64;
/** What stands for a field that a record does not have. */
const ABSENT = "absent";
/** Records that a missing or extra call lists. */
const MAX_CALLS = 64;

/**
 * Holds two traces against each other, in canonical form. Symbols are paired while it goes on, so that a
 * record too many on one side does not shift the names of all that follow. The first difference that
 * `explain` has no name for is the cause; what differs after it is counted. Throws nothing for any
 * content.
 */
export function compareTraces(
  left: Trace,
  right: Trace,
  options: CompareTracesOptions = {},
): TraceComparison {
  return new Comparing(left, right, options).run();
}

const isEnd = ({ type }: CanonicalRecord): boolean => type === "end";
const isPort = ({ where }: CanonicalRecord): boolean => where === "port";

/** Records at the port are compared only where both traces have them. */
function comparable(
  left: readonly CanonicalRecord[],
  right: readonly CanonicalRecord[],
  resultsOnly: boolean,
): readonly [readonly CanonicalRecord[], readonly CanonicalRecord[], boolean] {
  if (resultsOnly) return [left.filter(isEnd), right.filter(isEnd), false];
  if (left.some(isPort) === right.some(isPort)) return [left, right, left.some(isPort)];
  return [left.filter((one) => !isPort(one)), right.filter((one) => !isPort(one)), false];
}

class Comparing {
  readonly #left: readonly CanonicalRecord[];
  readonly #right: readonly CanonicalRecord[];
  readonly #symbols = new Bijection();
  readonly #options: CompareTracesOptions;
  readonly #about: {
    readonly conduit: string;
    readonly clauses: readonly string[];
    readonly port: boolean;
  };
  readonly #explained: ExplainedDifference[] = [];
  #cause: Difference | undefined;
  #echoes = 0;
  #compared = 0;
  /** How far either side has come. */
  #at = { left: 0, right: 0 };

  constructor(left: Trace, right: Trace, options: CompareTracesOptions) {
    this.#options = options;
    const [l, r, port] = comparable(
      canonicalTrace(left),
      canonicalTrace(right),
      options.resultsOnly === true,
    );
    this.#left = l;
    this.#right = r;
    const clauses = [...new Set([...left.header.clauses, ...right.header.clauses])];
    this.#about = { conduit: right.header.conduit, clauses, port };
  }

  run(): TraceComparison {
    let alone: Step[] = [];
    for (const step of pairRecords(this.#left, this.#right)) {
      if (step === undefined) {
        this.#rest(alone);
        alone = [];
        break;
      }
      const { left, right } = step;
      if (left !== undefined && right !== undefined) {
        this.#single(alone);
        alone = [];
        this.#pair(left, right);
        continue;
      }
      if (alone.length > 0 && (alone[0]?.left === undefined) !== (left === undefined)) {
        this.#single(alone);
        alone = [];
      }
      alone.push(step);
    }
    this.#single(alone);
    return {
      compared: this.#compared,
      explained: this.#explained,
      ...(this.#cause === undefined ? {} : { cause: this.#cause }),
      echoes: this.#echoes,
    };
  }

  #pair(leftAt: number, rightAt: number): void {
    const [left, right] = [this.#left[leftAt], this.#right[rightAt]];
    if (left === undefined || right === undefined) return;
    this.#at = { left: leftAt, right: rightAt };
    this.#compared += 1;
    const differing = this.#fields(left, right);
    const [first] = differing;
    if (first !== undefined) {
      const fields = differing.map((one) => one.difference);
      this.#difference({ kind: KINDS[first.part], fields }, left, right, { left: 1, right: 1 });
    }
    this.#at = { left: leftAt + 1, right: rightAt + 1 };
  }

  #fields(
    left: CanonicalRecord,
    right: CanonicalRecord,
  ): { readonly part: FieldPart; readonly difference: FieldDifference }[] {
    const found: { part: FieldPart; difference: FieldDifference }[] = [];
    for (const [l, r] of aligned(left.fields(), right.fields())) {
      if (l !== undefined && r !== undefined && this.#same(l, r)) continue;
      if (found.length >= MAX_FIELDS) break;
      const { name, part } = l ?? r ?? { name: "", part: "register" as const };
      const texts = [this.#text("left", l), this.#text("right", r)] as const;
      found.push({
        part,
        difference: {
          field: name,
          left: texts[0],
          right: texts[1],
          leftRaw: l?.raw ?? "",
          rightRaw: r?.raw ?? "",
        },
      });
    }
    // Two answers of different kinds have other fields; that they do is said by the first that differs.
    const [first] = found;
    if (first?.difference.field !== "a0" && left.skeleton === right.skeleton) return found;
    return found.filter((one) => one === first || isOnBoth(one.difference));
  }

  #same(left: CanonicalField, right: CanonicalField): boolean {
    return this.#equal(left.value, right.value) || (left.asSent === true && right.asSent === true);
  }

  #equal(left: FieldValue, right: FieldValue): boolean {
    if (left.kind === "loose" || right.kind === "loose") return true;
    if (left.kind === "symbol" && right.kind === "symbol") return this.#symbols.match(left, right);
    if (left.kind === "number" && right.kind === "number") {
      return left.value === right.value || this.#symbols.sameNumber(left.value, right.value);
    }
    return left.kind === "constant" && right.kind === "constant" && left.text === right.text;
  }

  #text(side: Side, of: CanonicalField | undefined): string {
    if (of === undefined) return ABSENT;
    const text = valueText(of.value, (symbol) => this.#symbols.show(side, symbol));
    return of.asSent === true ? `${text} (as sent)` : text;
  }

  /** Steps of one side in a row. */
  #single(steps: readonly Step[]): void {
    const [first] = steps;
    if (first === undefined) return;
    const isLeft = first.left !== undefined;
    const records = steps.flatMap(({ left, right }) => {
      const one = isLeft ? this.#left[left ?? -1] : this.#right[right ?? -1];
      return one === undefined ? [] : [one];
    });
    this.#lonely(isLeft ? "left" : "right", records, steps.length);
  }

  #lonely(side: Side, records: readonly CanonicalRecord[], count: number): void {
    const [record] = records;
    if (record === undefined) return;
    const isLeft = side === "left";
    const [here, other] = isLeft
      ? [record, this.#right[this.#at.right]]
      : [record, this.#left[this.#at.left]];
    const calls = records.slice(0, MAX_CALLS).map((one) => nameOf(one));
    const more = records.length - calls.length;
    this.#difference(
      {
        kind: isLeft ? "missing call" : "extra call",
        fields: [],
        calls: more > 0 ? [...calls, `and ${more} more`] : calls,
      },
      isLeft ? here : other,
      isLeft ? other : here,
      { left: isLeft ? count : 0, right: isLeft ? 0 : count },
    );
    if (isLeft) this.#at = { ...this.#at, left: this.#at.left + count };
    else this.#at = { ...this.#at, right: this.#at.right + count };
  }

  /** Two traces that have nothing in common any more. */
  #rest(alone: readonly Step[]): void {
    this.#single(alone);
    this.#lonely("left", this.#left.slice(this.#at.left), this.#left.length - this.#at.left);
    this.#lonely("right", this.#right.slice(this.#at.right), this.#right.length - this.#at.right);
  }

  #difference(
    what: { kind: DifferenceKind; fields: FieldDifference[]; calls?: string[] },
    left: CanonicalRecord | undefined,
    right: CanonicalRecord | undefined,
    marked: { readonly left: number; readonly right: number },
  ): void {
    if (this.#cause !== undefined) {
      this.#echoes += 1;
      return;
    }
    const record = what.kind === "extra call" ? right : (left ?? right);
    if (record === undefined) return;
    const { call, phase, where, guest } = record;
    const bare: Difference = {
      kind: what.kind,
      call,
      ...(phase === undefined ? {} : { phase }),
      ...(where === undefined ? {} : { where }),
      ...(guest === undefined ? {} : { guest }),
      fields: what.fields,
      ...(what.calls === undefined ? {} : { calls: what.calls }),
      leftRecord: left?.index ?? 0,
      rightRecord: right?.index ?? 0,
      left: this.#context("left", marked.left),
      right: this.#context("right", marked.right),
      clauses: [],
    };
    const clauses = clausesOfDifference(bare, { record, left, right, ...this.#about });
    const difference: Difference = { ...bare, clauses };
    const known = this.#options.explain?.(difference);
    if (known === undefined) this.#cause = difference;
    else if (this.#explained.length < MAX_EXPLAINED) this.#explained.push({ ...known, difference });
  }

  #context(side: Side, marked: number): readonly ContextLine[] {
    const records = side === "left" ? this.#left : this.#right;
    const at = this.#at[side];
    const last = at + Math.min(marked, CONTEXT) - 1;
    const from = Math.max(0, at - CONTEXT);
    return records.slice(from, Math.max(at, last + 1) + CONTEXT).map((record, offset) => {
      const position = from + offset;
      const text = recordLine(record, (symbol) => this.#symbols.show(side, symbol));
      const here = position >= at && position < at + marked;
      return { record: record.index, text, ...(here ? { here: true as const } : {}) };
    });
  }
}

const isOnBoth = ({ left, right }: FieldDifference): boolean => left !== ABSENT && right !== ABSENT;

const nameOf = ({ call, phase }: CanonicalRecord): string =>
  phase === undefined ? call : `${phase === "enter" ? ">" : "<"} ${call}`;

const KINDS: Readonly<Record<FieldPart, DifferenceKind>> = {
  register: "register",
  "message field": "message field",
  data: "data",
  guest: "guest",
  result: "result",
  end: "end",
};

/** Fields by name, in the order of the left, then what only the right has. */
function* aligned(
  left: readonly CanonicalField[],
  right: readonly CanonicalField[],
): Generator<readonly [CanonicalField | undefined, CanonicalField | undefined]> {
  const inStep =
    left.length === right.length && left.every((one, i) => one.name === right[i]?.name);
  if (inStep) {
    for (const [index, one] of left.entries()) yield [one, right[index]];
    return;
  }
  const byName = new Map(right.map((one) => [one.name, one]));
  for (const one of left) {
    yield [one, byName.get(one.name)];
    byName.delete(one.name);
  }
  for (const one of byName.values()) yield [undefined, one];
}
