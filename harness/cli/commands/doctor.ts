import { Command } from "commander";
import { EXIT, worstExit } from "../../base/index.ts";
import { loadBoard } from "../../board/index.ts";
import type { CliContext, CommandBuilder } from "../context.ts";
import { checkBoard, checkBoardFiles } from "../doctor/board.ts";
import type { Check } from "../doctor/check.ts";
import { checkCache, checkNode, checkOutput, checkPrepareTools } from "../doctor/host.ts";
import { checkQemu } from "../doctor/qemu.ts";
import { examples } from "../help.ts";
import type { Style } from "../style.ts";

export const build: CommandBuilder = (context) => {
  const command = new Command("doctor")
    .description(
      "Say what is missing, what is wrong, and how to mend it: for this host, or for one board. " +
        "Exits 3 if something needed is missing, 2 if a board file is wrong, else 0.",
    )
    .argument("[board]", "look at what this board needs")
    .option("--json", "print JSON")
    .action((board: string | undefined, options: { json?: boolean }) =>
      doctor(context, board, options.json === true),
    );
  return examples(command, [
    ["lockstep doctor", "this host and all board files"],
    ["lockstep doctor qemu-virt", "everything that qemu-virt needs"],
  ]);
};

async function doctor(
  context: CliContext,
  board: string | undefined,
  json: boolean,
): Promise<void> {
  const checks = board === undefined ? await host(context) : await one(context, board);
  const code = worstExit(
    checks.flatMap(({ status, exit }) => (status === "bad" ? [exit ?? EXIT.infrastructure] : [])),
  );
  if (json) {
    const plain = checks.map(({ exit: _exit, ...check }) => check);
    context.out(`${JSON.stringify({ ok: code === EXIT.ok, checks: plain }, undefined, 2)}\n`);
  } else {
    for (const check of checks) context.out(line(context, check));
  }
  context.setExit(code);
}

async function host(context: CliContext): Promise<Check[]> {
  return [
    checkNode(),
    await checkCache(context.env),
    ...(await checkQemu(undefined, context.env)),
    await checkOutput(context),
    await checkPrepareTools(context.env, false),
    ...(await checkBoardFiles(context)),
  ];
}

async function one(context: CliContext, board: string): Promise<Check[]> {
  const config = await loadBoard(board, context);
  return [
    checkNode(),
    ...(config.platform === "qemu" ? await checkQemu(config, context.env) : []),
    ...(config.image === undefined ? [] : [await checkCache(context.env)]),
    ...(await checkBoard(config, context)),
  ];
}

const PAINT: Readonly<Record<Check["status"], (style: Style, text: string) => string>> = {
  ok: (style, text) => style.green(text),
  warn: (style, text) => style.yellow(text),
  bad: (style, text) => style.red(text),
};

function line(context: CliContext, { status, what, detail, mend }: Check): string {
  const { out } = context.style;
  const head = `${PAINT[status](out, status.padEnd(4))}  ${what}: ${detail}`;
  return mend === undefined ? `${head}\n` : `${head}\n      ${out.dim("mend:")} ${mend}\n`;
}
