import path from "node:path";
import { Command } from "commander";
import { EXIT, LockstepError } from "../../base/index.ts";
import {
  type BoardFileProblem,
  checkBoardFile,
  findBoardFile,
  listBoards,
  loadBoard,
  missingFiles,
} from "../../board/index.ts";
import { newBoardFile } from "../board-template.ts";
import { divergenceProblems, once } from "../known-divergences.ts";
import type { CliContext, CommandBuilder } from "../context.ts";
import { examples } from "../help.ts";

export const build: CommandBuilder = (context) => {
  const command = new Command("boards").description("List, show, check and create board files.");
  const list = new Command("list")
    .description(
      "List the boards on the search path: ./boards, LOCKSTEP_BOARDS_PATH, lockstep's own.",
    )
    .option("--json", "print JSON")
    .option("--names", "print names only, one a line")
    .action((options: { json?: boolean; names?: boolean }) => listCommand(context, options));
  const show = new Command("show")
    .description("Show a board with its type merged in and its paths resolved.")
    .argument("<board>", "a board's name, or the path of a board file")
    .option("--json", "print JSON")
    .action((board: string, options: { json?: boolean }) => showCommand(context, board, options));
  const check = new Command("check")
    .description(
      "Check board files, and what is known of the boards' divergences, and report everything that " +
        "is wrong, with line and column.",
    )
    .argument("<file...>", "board files, or names of boards")
    .option("--json", "print JSON")
    .action((files: string[], options: { json?: boolean }) =>
      checkCommand(context, files, options),
    );
  const create = new Command("new")
    .description("Write a commented board file to start from. Never overwrites one.")
    .option("--type <type>", "the board type")
    .option("--name <name>", "the board's name")
    .option("--out <file>", "where to write it (default: boards/NAME.yaml)")
    .action((options: { type?: string; name?: string; out?: string }) =>
      newBoardFile(context, options),
    );

  command.addCommand(list, { isDefault: true });
  for (const sub of [show, check, create]) command.addCommand(sub);
  examples(list, [["lockstep boards list --json", "for scripts"]]);
  examples(show, [["lockstep boards show qemu-virt", "what the board consists of"]]);
  examples(check, [["lockstep boards check boards/*.yaml", "all board files of a lab"]]);
  examples(create, [
    ["lockstep boards new --type qemu-virt --name my-optee", "writes boards/my-optee.yaml"],
  ]);
  return examples(command, [
    ["lockstep boards", "list them"],
    ["lockstep boards show qemu-virt", "what a board consists of"],
    ["lockstep boards check boards/mine.yaml", "find mistakes before a run does"],
    ["lockstep boards new --type qemu-virt --name my-optee", "begin a board file"],
  ]);
};

interface Row {
  readonly name: string;
  readonly type?: string;
  readonly platform?: string;
  readonly description?: string;
  readonly file: string;
  /** Why the file does not load. */
  readonly problem?: string;
}

async function listCommand(
  context: CliContext,
  options: { json?: boolean; names?: boolean },
): Promise<void> {
  const boards = await listBoards(context);
  if (options.names === true) {
    context.out(boards.map(({ name }) => `${name}\n`).join(""));
    return;
  }
  const rows = await Promise.all(
    boards.map(async ({ name, file }): Promise<Row> => {
      try {
        const { type, platform, description } = await loadBoard(file, context);
        return { name, type, platform, description, file };
      } catch (error) {
        if (!(error instanceof LockstepError)) throw error;
        return { name, file, problem: `${error.where ?? file}: ${error.message}` };
      }
    }),
  );
  if (options.json === true) {
    context.out(`${JSON.stringify(rows, undefined, 2)}\n`);
    return;
  }
  const width = (pick: (row: Row) => string): number =>
    Math.max(...rows.map((row) => pick(row).length));
  const [names, platforms] = [width(({ name }) => name), width((row) => row.platform ?? "broken")];
  const { style } = context;
  for (const row of rows) {
    const name = style.out.bold(row.name.padEnd(names));
    const platform = (row.platform ?? "broken").padEnd(platforms);
    const text = row.problem === undefined ? row.description : row.problem;
    context.out(
      `${name}  ${row.problem === undefined ? platform : style.out.red(platform)}  ${text}\n`,
    );
  }
}

async function showCommand(
  context: CliContext,
  board: string,
  options: { json?: boolean },
): Promise<void> {
  const config = await loadBoard(board, context);
  if (options.json === true) {
    context.out(`${JSON.stringify(config, undefined, 2)}\n`);
    return;
  }
  const { stringify } = await import("yaml");
  context.out(stringify(config, { lineWidth: 0 }));
}

async function checkCommand(
  context: CliContext,
  names: readonly string[],
  options: { json?: boolean },
): Promise<void> {
  const problems: BoardFileProblem[] = [];
  const missing: BoardFileProblem[] = [];
  const expired: BoardFileProblem[] = [];
  for (const name of names) {
    const file = await findBoardFile(name, context);
    const found = await checkBoardFile(file, context);
    if (found.length === 0) {
      const { selectionProblems } = await import("../run-loop/xtest-list.ts");
      found.push(...(await selectionProblems(await loadBoard(file, context), context)));
      missing.push(...(await missingFiles(file, context)));
      const known = await divergenceProblems(file, context);
      found.push(...known.problems);
      expired.push(...known.expired);
    }
    problems.push(...found);
  }
  const report = { problems: once(problems), missing, expired: once(expired) };
  if (options.json === true) {
    context.out(`${JSON.stringify(report, undefined, 2)}\n`);
  } else {
    const style = context.style.out;
    for (const one of report.problems) context.out(describe(context, one, style.red("error")));
    for (const one of missing) context.out(describe(context, one, style.yellow("missing")));
    for (const one of report.expired) context.out(describe(context, one, style.yellow("expired")));
    if (problems.length === 0) {
      const but = [
        counted(missing.length, "1 file is missing", "files are missing"),
        counted(
          report.expired.length,
          "1 known divergence has expired",
          "known divergences have expired",
        ),
      ].filter((one) => one !== "");
      context.out(`${names.join(", ")}: ok${but.length === 0 ? "" : `, but ${but.join(", ")}`}\n`);
    }
  }
  if (problems.length > 0) context.setExit(EXIT.usage);
}

const counted = (count: number, one: string, many: string): string =>
  count === 0 ? "" : count === 1 ? one : `${count} ${many}`;

function describe(context: CliContext, problem: BoardFileProblem, kind: string): string {
  const relative = path.relative(context.cwd, problem.file);
  const file = relative.startsWith("..") ? problem.file : relative;
  const next = problem.next === undefined ? "" : ` ${problem.next}`;
  const message = /[.?!]$/.test(problem.message) ? problem.message : `${problem.message}.`;
  return `${file}:${problem.line}:${problem.column}: ${kind}: ${message}${next}\n`;
}
