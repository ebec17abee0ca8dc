import { xtestRuns } from "../select.ts";

/** What a case of the fake does when it runs. */
export type Behaviour =
  | "pass"
  | "fail"
  | "skip"
  | { readonly subcases: readonly ("pass" | "fail" | "skip")[] };

export interface FakeCase {
  readonly id: string;
  readonly suite: string;
  readonly title: string;
  readonly does: Behaviour;
}

export const fakeCase = (id: string, does: Behaviour = "pass"): FakeCase => ({
  id,
  suite: id.slice(0, id.indexOf("_")),
  title: `Title of ${id}`,
  does,
});

/** The arguments of a command line such as `xtest -l 0 -t a+b x -x y`. */
export function readCommand(command: string): {
  readonly level: number;
  readonly suites: string[];
  readonly args: string[];
} {
  const [program, l, level, t, suites, ...args] = command.split(" ");
  if (program !== "xtest" || l !== "-l" || t !== "-t" || suites === undefined) {
    throw new Error(`not a command line of xtest: ${command}`);
  }
  return { level: Number(level), suites: suites.split("+"), args };
}

/** The cases that such a command runs, by xtest's own rule. */
export function runBy(command: string, cases: readonly FakeCase[]): FakeCase[] {
  const { suites, args } = readCommand(command);
  return cases.filter((one) => suites.includes(one.suite) && xtestRuns(args, one.id));
}

export function header(command: string): string {
  const { level, suites, args } = readCommand(command);
  const lines: string[] = [];
  for (let i = 0; i < args.length; i++) {
    lines.push(args[i] === "-x" ? `Test ID: -x ${args[++i]}` : `Test ID: ${args[i]}`);
  }
  const bar = "######################################################";
  lines.push(
    `Run test suite with level=${level}`,
    "",
    "TEE test application started over default TEE instance",
    bar,
    "#",
    `# ${suites.join("+")}`,
    "#",
    bar,
  );
  return `${lines.join("\n")}\n`;
}

export const startOf = (one: FakeCase): string => ` \n* ${one.id} ${one.title}\n`;

/** Everything that a case prints after its first line. */
export function bodyOf({ id, does }: FakeCase): string {
  const file = "host/xtest/regression_1000.c";
  if (does === "pass") return `  ${id} OK\n`;
  if (does === "skip") return ` - ${id.slice(-4)} -   skip test, not here\n  ${id} OK\n`;
  if (does === "fail") {
    return `${file}:12: res has an unexpected value: 0x1, expected 0x0\n  ${id} FAILED\n`;
  }
  const lines = does.subcases.flatMap((what, i) => {
    const sub = `${id}.${i + 1}`;
    const said =
      what === "skip"
        ? ["Binary doesn't support it - skip tests"]
        : what === "fail"
          ? [`${file}:34: x has an unexpected value: 0x1, expected 0x0`]
          : [];
    return [`o ${sub} Sub ${i + 1}`, ...said, `  ${sub} ${what === "fail" ? "FAILED" : "OK"}`];
  });
  return `${[...lines, `  ${id} ${failed(does) ? "FAILED" : "OK"}`].join("\n")}\n`;
}

const failed = (does: Behaviour): boolean =>
  does === "fail" || (typeof does === "object" && does.subcases.includes("fail"));

const plural = (count: number, one: string, many: string): string =>
  `${count} ${count === 1 ? one : many}`;

/** The result list and the totals after `ran` out of `universe` cases. */
export function footer(
  command: string,
  ran: readonly FakeCase[],
  universe: number,
  subtests = ran.length * 10,
): string {
  const { suites, args } = readCommand(command);
  const rule = `+${"-".repeat(53)}`;
  const lines = [rule];
  const name = suites.join("+");
  if (args.length === 0) lines.push(`Result of testsuite ${name}:`);
  for (const arg of args)
    if (arg !== "-x") lines.push(`Result of testsuite ${name} filtered by "${arg}":`);
  for (const { id, does } of ran) {
    if (typeof does === "object") {
      for (const [i, what] of does.subcases.entries()) {
        if (what === "fail")
          lines.push(`${id}.${i + 1} FAILED first error at regression_1000.c:34`);
      }
    }
    if (does === "fail") lines.push(`${id} FAILED first error at regression_1000.c:12`);
    else lines.push(`${id} ${failed(does) ? "FAILED" : "OK"}`);
  }
  const bad = ran.filter((one) => failed(one.does)).length;
  lines.push(
    rule,
    `${plural(subtests, "subtest", "subtests")} of which ${bad} failed`,
    `${plural(ran.length, "test case", "test cases")} of which ${bad} failed`,
    `${plural(universe - ran.length, "test case was", "test cases were")} skipped`,
    "TEE test application done!",
  );
  return `${lines.join("\n")}\n`;
}

/** All of it: what an undisturbed xtest prints for a command. */
export function fullRun(command: string, cases: readonly FakeCase[], subtests?: number): string {
  const ran = runBy(command, cases);
  const { suites } = readCommand(command);
  const universe = cases.filter((one) => suites.includes(one.suite)).length;
  const bodies = ran.map((one) => startOf(one) + bodyOf(one)).join("");
  return header(command) + bodies + footer(command, ran, universe, subtests);
}
