import type {
  Evidence,
  ParsedCase,
  ParsedRun,
  ParsedSubcase,
  RunEnd,
  Verdict,
  XtestEvent,
} from "./model.ts";

/** More than any xtest prints in one run; beyond it a log is not believed, and memory stays bounded. */
const MAX_CASES = 5_000;
const MAX_SUBCASES = 200_000;
const MAX_REMARKS = 50;
const MAX_PER_CASE = 20;

/** The first place of a failed expectation: `…/regression_1000.c:1234: what was wrong`. */
const DIAGNOSTIC = /^\S+\.[ch]:\d+: ./;

export function emptyRun(index: number, filters: readonly string[]): ParsedRun {
  return {
    index,
    level: undefined,
    filters,
    suite: undefined,
    cases: [],
    totals: {
      subtests: undefined,
      failedSubtests: undefined,
      cases: undefined,
      failedCases: undefined,
      skippedCases: undefined,
    },
    listed: false,
    aborted: false,
    end: "end of log",
    violations: [],
    messages: [],
    between: [],
  };
}

/** Keeps the order of one run's lines: what is open, what may follow, what contradicts. */
export class RunTracker {
  readonly run: ParsedRun;
  readonly #emit: (event: XtestEvent) => void;
  readonly #byId = new Map<string, ParsedCase>();
  #open: ParsedCase | undefined;
  /** Open subcases of the open case, outermost first. */
  readonly #stack: ParsedSubcase[] = [];
  #subcases = 0;
  /** Built at the first look-up, which only broken or failing runs need. */
  #subcaseIndex: Map<string, ParsedSubcase> | undefined;
  #lastEnded: string | undefined;
  #listing = false;

  constructor(run: ParsedRun, emit: (event: XtestEvent) => void) {
    this.run = run;
    this.#emit = emit;
    emit({ type: "run-start", run });
  }

  get openCase(): ParsedCase | undefined {
    return this.#open;
  }

  /** The result list is being printed: its lines are verdicts without indentation. */
  get listing(): boolean {
    return this.#listing;
  }

  /** Something of this run was seen beyond its opening lines. */
  get begun(): boolean {
    return this.run.suite !== undefined || this.run.cases.length > 0;
  }

  violation(text: string): void {
    if (this.run.violations.length < MAX_REMARKS) this.run.violations.push(text);
  }

  message(text: string): void {
    if (this.run.messages.length < MAX_REMARKS) this.run.messages.push(text.slice(0, 200));
  }

  suite(name: string): void {
    if (this.run.suite !== undefined) {
      this.violation(`a second suite header, "${name}"`);
      return;
    }
    this.run.suite = name;
    this.#emit({ type: "suite", run: this.run, suite: name });
  }

  startCase(id: string, title: string): void {
    const before = this.#open;
    if (before !== undefined) this.#abandon();
    if (this.#listing) this.violation(`${id} starts after the result list`);
    if (this.#byId.has(id)) {
      this.violation(`${id} starts twice in one run`);
      this.#open = this.#byId.get(id);
      return;
    }
    const started = this.#newCase(id, title, true);
    if (started === undefined) return;
    this.#open = started;
    this.#emit({ type: "case-start", run: this.run, case: started });
  }

  startSubcase(id: string, parentId: string, title: string): void {
    const parent = this.#popTo(id, parentId);
    if (parent === undefined) {
      this.violation(`subcase ${id} starts outside its case`);
      return;
    }
    const siblings = parent.subcases;
    const last = siblings[siblings.length - 1];
    // In the order printed an id can only come again when a line was forged or the log was spliced.
    if (last?.id === id) this.violation(`subcase ${id} starts twice`);
    const subcase = this.#newSubcase(parent, id, title, true);
    if (subcase === undefined) return;
    this.#stack.push(subcase);
    this.#emit({ type: "subcase-start", case: parent, subcase });
  }

  /** An indented verdict, printed where a case or subcase ends. */
  verdict(id: string, verdict: Verdict): void {
    const open = this.#open;
    if (open === undefined) {
      this.#strayVerdict(id, verdict);
      return;
    }
    if (id === open.id) {
      if (this.#stack.length > 0) this.#lost();
      this.#endCase(open, verdict);
      return;
    }
    for (let i = this.#stack.length - 1; i >= 0; i--) {
      const subcase = this.#stack[i];
      if (subcase?.id !== id) continue;
      if (i < this.#stack.length - 1) {
        this.violation(`verdicts within ${id} are not legible`);
        this.#stack.length = i + 1;
      }
      this.#stack.pop();
      subcase.verdict = verdict;
      this.#emit({ type: "subcase-end", case: open, subcase });
      return;
    }
    if (id.startsWith(`${open.id}.`)) {
      const known = this.#subcase(id);
      if (known === undefined) {
        this.violation(`the line that starts ${id} is not legible`);
        const subcase = this.#newSubcase(open, id, "", false);
        if (subcase !== undefined) subcase.verdict = verdict;
      } else {
        this.violation(`a second verdict for ${id}`);
        if (verdict === "FAILED") known.verdict = "FAILED";
        known.verdict ??= verdict;
      }
      return;
    }
    this.#strayVerdict(id, verdict);
  }

  /** `Result of testsuite …`: from here on verdicts are the list's. */
  startList(): void {
    if (this.#open !== undefined) this.#abandon();
    if (this.run.listed && !this.#listing) this.violation("a second result list");
    this.run.listed = true;
    this.#listing = true;
  }

  listed(id: string, verdict: Verdict, where: string | undefined): void {
    const dot = id.indexOf(".");
    const found = this.#byId.get(dot === -1 ? id : id.slice(0, dot));
    if (found === undefined) {
      if (dot === -1) {
        this.violation(`${id} is in the result list, its output is not`);
        const added = this.#newCase(id, "", false);
        if (added === undefined) return;
        added.listed = verdict;
        added.where = where;
      } else this.violation(`${id} is in the result list, its output is not`);
      return;
    }
    if (dot === -1) {
      if (found.listed !== undefined) this.violation(`${id} is in the result list twice`);
      found.listed = found.listed === "FAILED" ? "FAILED" : verdict;
      found.where ??= where;
      return;
    }
    const subcase = this.#subcase(id);
    if (subcase === undefined) {
      this.violation(`${id} is in the result list, its output is not`);
      const added = this.#newSubcase(found, id, "", false);
      if (added === undefined) return;
      added.verdict = verdict;
      added.where = where;
      return;
    }
    subcase.where ??= where;
    if (verdict === "FAILED" && subcase.verdict !== "FAILED") {
      if (subcase.verdict !== undefined) this.violation(`${id} is both OK and FAILED`);
      subcase.verdict = "FAILED";
    }
  }

  skip(text: string): void {
    const open = this.#open;
    if (open === undefined) return;
    const inner = this.#stack[this.#stack.length - 1];
    const skips = inner === undefined ? open.skips : (inner.skips ??= []);
    if (skips.length < MAX_PER_CASE) skips.push(text);
    this.#emit({ type: "skip", id: inner?.id ?? open.id, text });
  }

  /** Text of xtest or of anybody else that is no result; kept only where it explains a failure. */
  text(line: string): void {
    const open = this.#open;
    if (open === undefined || open.diagnostics.length >= MAX_PER_CASE) return;
    if (DIAGNOSTIC.test(line)) open.diagnostics.push(line.trim().slice(0, 300));
  }

  evidence(evidence: Evidence): void {
    const open = this.#open;
    if (open !== undefined) {
      if (open.evidence.length < MAX_PER_CASE) open.evidence.push(evidence);
    } else if (this.run.between.length < MAX_REMARKS) {
      this.run.between.push({ after: this.#lastEnded, evidence });
    }
    this.#emit({ type: "evidence", evidence });
  }

  subtests(count: number, failed: number): void {
    this.#total(() => {
      this.run.totals.subtests = count;
      this.run.totals.failedSubtests = failed;
    }, this.run.totals.subtests !== undefined);
  }

  caseTotals(count: number, failed: number): void {
    this.#total(() => {
      this.run.totals.cases = count;
      this.run.totals.failedCases = failed;
    }, this.run.totals.cases !== undefined);
  }

  skippedTotal(count: number): void {
    this.#total(() => {
      this.run.totals.skippedCases = count;
      this.#emit({ type: "totals", run: this.run });
    }, this.run.totals.skippedCases !== undefined);
  }

  end(how: RunEnd): void {
    // An open case stays as it is, without a verdict: the judgement says why.
    this.run.end = how;
    this.#emit({ type: "run-end", run: this.run });
  }

  #total(set: () => void, again: boolean): void {
    if (!this.#listing) {
      this.violation(
        this.#open === undefined
          ? "a line of totals outside the end of the run"
          : `a line of totals within ${this.#open.id}, not printed by xtest`,
      );
      return;
    }
    if (again) this.violation("a line of totals twice in one run");
    set();
  }

  #newCase(id: string, title: string, started: boolean): ParsedCase | undefined {
    if (this.run.cases.length >= MAX_CASES) {
      if (this.run.cases.length === MAX_CASES) this.violation(`more than ${MAX_CASES} cases`);
      return undefined;
    }
    const made: ParsedCase = {
      id,
      title,
      started,
      verdict: undefined,
      listed: undefined,
      where: undefined,
      skips: [],
      subcases: [],
      diagnostics: [],
      evidence: [],
    };
    this.run.cases.push(made);
    this.#byId.set(id, made);
    return made;
  }

  #newSubcase(
    parent: ParsedCase,
    id: string,
    title: string,
    started: boolean,
  ): ParsedSubcase | undefined {
    if (++this.#subcases > MAX_SUBCASES) {
      if (this.#subcases === MAX_SUBCASES + 1) {
        this.violation(`more than ${MAX_SUBCASES} subcases`);
      }
      return undefined;
    }
    const made: ParsedSubcase = {
      id,
      title,
      started,
      verdict: undefined,
      skips: undefined,
      where: undefined,
    };
    parent.subcases.push(made);
    this.#subcaseIndex?.set(id, made);
    return made;
  }

  #subcase(id: string): ParsedSubcase | undefined {
    this.#subcaseIndex ??= new Map(
      this.run.cases.flatMap((one) => one.subcases.map((subcase) => [subcase.id, subcase])),
    );
    return this.#subcaseIndex.get(id);
  }

  /** Closes open subcases until the parent of `id` is innermost; undefined where it is not open. */
  #popTo(id: string, parentId: string): ParsedCase | undefined {
    const open = this.#open;
    if (open === undefined) return undefined;
    const depth = this.#stack.length;
    let keep = depth;
    while (keep > 0 && this.#stack[keep - 1]?.id !== parentId) keep--;
    if (keep === 0 && parentId !== open.id) {
      if (!id.startsWith(`${open.id}.`)) return undefined;
      this.violation(`the line that starts the parent of ${id} is not legible`);
    }
    if (keep < depth) {
      this.violation(`verdicts before ${id} are not legible`);
      this.#stack.length = keep;
    }
    return open;
  }

  #endCase(ended: ParsedCase, verdict: Verdict): void {
    if (ended.verdict !== undefined) this.violation(`a second verdict for ${ended.id}`);
    if (ended.verdict !== "FAILED") ended.verdict = verdict;
    if (this.#stack.length > 0) this.#stack.length = 0;
    this.#open = undefined;
    this.#lastEnded = ended.id;
    this.#emit({ type: "case-end", run: this.run, case: ended });
  }

  #strayVerdict(id: string, verdict: Verdict): void {
    const dot = id.indexOf(".");
    const caseId = dot === -1 ? id : id.slice(0, dot);
    const found = this.#byId.get(caseId);
    if (found === undefined) {
      this.violation(`the line that starts ${caseId} is not legible`);
      if (this.#open !== undefined) this.#abandon();
      const added = this.#newCase(caseId, "", false);
      if (added === undefined) return;
      if (dot === -1) added.verdict = verdict;
      else {
        const subcase = this.#newSubcase(added, id, "", false);
        if (subcase !== undefined) subcase.verdict = verdict;
      }
      return;
    }
    this.violation(`a verdict for ${id} after the case had ended`);
    if (verdict === "FAILED") {
      found.verdict = "FAILED";
      const subcase = this.#subcase(id);
      if (subcase !== undefined) subcase.verdict = "FAILED";
    }
  }

  #lost(): void {
    this.violation(`verdicts within ${this.#open?.id ?? "a case"} are not legible`);
  }

  /** The open case goes on without a verdict. */
  #abandon(): void {
    const open = this.#open;
    this.violation(`the verdict of ${open?.id ?? "a case"} is not legible`);
    this.#stack.length = 0;
    this.#open = undefined;
    this.#lastEnded = open?.id;
  }
}
