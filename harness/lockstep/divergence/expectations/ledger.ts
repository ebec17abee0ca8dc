import type { ExpectationOutcome } from "../../../run/index.ts";
import type { Explain } from "../compare.ts";
import { coversCase, namesDifference } from "./match.ts";
import type { Expectation } from "./model.ts";
import { inRange } from "./versions.ts";

export interface LedgerOptions {
  readonly target: string;
  readonly expectations: readonly Expectation[];
  /** Versions of the software on the board; asked for when first needed. */
  readonly versions: () => Readonly<Record<string, string>>;
  /** ISO date, UTC. */
  readonly today: string;
}

/** What one case has used of the expectations. */
export interface CaseExpectations {
  readonly explain: Explain;
  /** Those that explained something. */
  readonly used: ReadonlySet<Expectation>;
  /** One that named the cause, had it not expired. */
  expired(): Expectation | undefined;
}

/** Keeps account of what the expectations of one board explained in a run. */
export class ExpectationLedger {
  readonly #options: LedgerOptions;
  readonly #matched = new Map<Expectation, Set<string>>();
  readonly #compared = new Set<string>();
  readonly #missed = new Set<string>();
  #applying: readonly Expectation[] | undefined;

  constructor(options: LedgerOptions) {
    this.#options = options;
  }

  /** Those that speak of the versions on the board, expired ones included. */
  get #inForce(): readonly Expectation[] {
    if (this.#applying !== undefined) return this.#applying;
    const { expectations, versions } = this.#options;
    const known = versions();
    this.#applying = expectations.filter((one) =>
      Object.entries(one.versions).every(
        ([software, range]) =>
          Object.hasOwn(known, software) && inRange(known[software] ?? "", range),
      ),
    );
    return this.#applying;
  }

  #isExpired({ expires }: Expectation): boolean {
    return expires < this.#options.today;
  }

  /** The expectations of a case, for the comparison of its runs. */
  of(caseId: string): CaseExpectations {
    const entries = this.#inForce.filter((one) => coversCase(one, caseId));
    const used = new Set<Expectation>();
    let expired: Expectation | undefined;
    return {
      used,
      expired: () => expired,
      explain: (difference) => {
        const named = entries.filter(({ what }) => namesDifference(what, difference));
        const one = named.find((entry) => !this.#isExpired(entry));
        if (one === undefined) {
          [expired] = named;
          return undefined;
        }
        used.add(one);
        const cases = this.#matched.get(one) ?? new Set();
        this.#matched.set(one, cases.add(caseId));
        return { expectation: one.id, reason: one.reason };
      },
    };
  }

  /** A case was compared from its beginning to its end. */
  compared(caseId: string): void {
    this.#compared.add(caseId);
  }

  /** A case ran, but was not compared, or not to its end. */
  missed(caseId: string): void {
    this.#missed.add(caseId);
  }

  /**
   * What became of every expectation in force. `whole` tells whether all cases that there are of a suite
   * were wanted in this run: only then is what a pattern matches known to be all.
   */
  outcomes(whole: (suite: string) => boolean): readonly ExpectationOutcome[] {
    return this.#inForce.map((one) => {
      const cases = [...this.#compared].filter((id) => coversCase(one, id));
      const matched = this.#matched.get(one)?.size ?? 0;
      const { id, reason, owner, expires, link, where } = one;
      return {
        target: this.#options.target,
        id,
        outcome: this.#outcome(one, matched, cases, whole),
        cases: matched > 0 ? matched : cases.length,
        reason,
        owner,
        expires,
        ...(link === undefined ? {} : { link }),
        where,
      };
    });
  }

  #outcome(
    one: Expectation,
    matched: number,
    compared: readonly string[],
    whole: (suite: string) => boolean,
  ): ExpectationOutcome["outcome"] {
    if (this.#isExpired(one)) return compared.length > 0 ? "expired" : "untested";
    if (matched > 0) return "matched";
    if ([...this.#missed].some((id) => coversCase(one, id))) return "untested";
    const all = one.cases.every((glob) =>
      glob.includes("*") ? whole(suiteOf(glob)) && compared.length > 0 : this.#compared.has(glob),
    );
    return all ? "stale" : "untested";
  }
}

/** The suite that a pattern is within; empty where that is not said. */
function suiteOf(glob: string): string {
  const [suite = ""] = glob.split(".", 1);
  return suite.includes("*") ? "" : suite;
}
