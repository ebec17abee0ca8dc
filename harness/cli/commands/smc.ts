import { text as readAll } from "node:stream/consumers";
import { Command } from "commander";
import { Deadline, UsageError } from "../../base/index.ts";
import { type BoardConfig, loadBoard } from "../../board/index.ts";
import {
  assemble,
  ConsoleBridge,
  loaderConsoleOf,
  LoaderSmc,
  LoaderPrompt,
  RamWindow,
} from "../../bridge/index.ts";
import type { Registers } from "../../machine/index.ts";
import { createEmulated, onlyAsks } from "../../platform/index.ts";
import type { CliContext, CommandBuilder } from "../context.ts";
import { examples } from "../help.ts";
import { bootDeadline, withBoard } from "../open-board.ts";
import { parseDuration } from "../options.ts";
import { isWellKnown, parseSmc, registersOf, reportOf, type SmcCall } from "../smc-call.ts";

interface SmcFlags {
  readonly timeout?: number;
  readonly confirm?: string;
  readonly json?: boolean;
}

const DEFAULT_MS = 30_000;
/** The line carries a few thousand characters for each call, twice as many where it is bad. */
const TYPING_MS = 120_000;

export const build: CommandBuilder = (context) => {
  const command = new Command("smc")
    .description(
      "Make raw SMCs on a board that stands at its boot loader's prompt (U-Boot with mw, md and go), " +
        "or on the emulated platform. The board is booted to that prompt first. Names are OP-TEE's, " +
        "with or without OPTEE_SMC_; registers that are left out are 0.",
    )
    .argument("<board>", "the board")
    .argument("<fid>", "function identifier, by name or number; `-` reads a call a line from stdin")
    .argument("[registers...]", "x1 to x7, hexadecimal with 0x, or decimal")
    .option("--timeout <time>", "longest time for one SMC (default: 30s)", parseDuration)
    .option(
      "--confirm <board>",
      "allow the SoC's and vendors' own calls (they can blow fuses) on a board that its file calls expendable",
    )
    .option("--json", "print JSON")
    .action(async (board: string, fid: string, registers: string[], flags: SmcFlags) => {
      await smc(context, board, await readCalls(context, fid, registers), flags);
    });
  return examples(command, [
    ["lockstep smc qemu-virt EXCHANGE_CAPABILITIES", "what does this OP-TEE offer?"],
    ["lockstep smc qemu-virt 0xb2000009 0xffff", "the same with bits that it refuses"],
    ["lockstep smc emulated CALLS_UID", "what the model answers"],
    ["lockstep smc shelf-3 - < calls.txt", "several in one boot"],
  ]);
};

/** The calls of the command line, or those on stdin: one a line, `#` begins a comment. */
async function readCalls(
  context: CliContext,
  fid: string,
  registers: readonly string[],
): Promise<SmcCall[]> {
  if (fid !== "-") return [parseSmc([fid, ...registers])];
  if (registers.length > 0) {
    throw new UsageError("with `-` the registers stand on stdin, behind each call");
  }
  const lines = (await readAll(context.streams.stdin)).split("\n");
  const calls = lines.flatMap((line, index) => {
    const words = line.replace(/#.*/, "").trim().split(/\s+/).filter(Boolean);
    return words.length === 0 ? [] : [parseSmc(words, `stdin, line ${index + 1}`)];
  });
  if (calls.length === 0) throw new UsageError("there is no call on stdin");
  return calls;
}

async function smc(
  context: CliContext,
  name: string,
  calls: readonly SmcCall[],
  flags: SmcFlags,
): Promise<void> {
  const config = await loadBoard(name, context);
  refuseUnknown(config, calls, flags.confirm);
  const answers =
    config.platform === "emulated"
      ? emulated(calls)
      : await onBoard(context, config, calls, flags.timeout ?? DEFAULT_MS);
  const reports = calls.map((call, index) => {
    const { registers = registersOf(call), known } = answers[index] ?? {};
    return reportOf(call, registers, known);
  });
  if (flags.json === true) {
    context.out(`${JSON.stringify(reports, undefined, 2)}\n`);
    return;
  }
  for (const { fid, name: known, sent, x, meaning } of reports) {
    const head = [known === undefined ? fid : `${known} (${fid})`, ...sent].join(" ");
    const tail = meaning === undefined ? "" : `   ${meaning}`;
    context.out(`${head}\n  x0..x3 ${x.slice(0, 4).join(" ")}${tail}\n`);
    if (x.slice(4).some((value, index) => value !== (sent[3 + index] ?? "0x0"))) {
      context.out(`  x4..x7 ${x.slice(4).join(" ")}\n`);
    }
  }
}

/** What a SoC or a vendor does in its own calls can be for ever. */
function refuseUnknown(
  config: BoardConfig,
  calls: readonly SmcCall[],
  confirm: string | undefined,
): void {
  if (config.platform !== "hardware" || calls.every(isWellKnown)) return;
  const confirmed = confirm === config.name;
  if (config.expendable && confirmed) return;
  throw new UsageError(
    "this call is the SoC's or its vendor's own, and such calls can blow fuses",
    {
      where: config.file,
      expected: "a board that its file marks `expendable: true`, and --confirm with its name",
      seen: `${config.expendable ? "expendable" : "not expendable"}, ${confirmed ? "confirmed" : "not confirmed"}`,
    },
  );
}

interface SmcAnswer {
  readonly registers: Registers;
  /** How many of them, from x0 on, are known; all when left out. */
  readonly known?: number;
}

function emulated(calls: readonly SmcCall[]): SmcAnswer[] {
  const { port } = createEmulated({ conduit: "direct", seed: 1 });
  return calls.map((call) => {
    const registers = registersOf(call);
    port.smc(registers);
    return { registers };
  });
}

async function onBoard(
  context: CliContext,
  config: BoardConfig,
  calls: readonly SmcCall[],
  smcMs: number,
): Promise<SmcAnswer[]> {
  const { bridge: where, boot } = config;
  if (where === undefined || boot === undefined) {
    throw new UsageError(`board ${config.name} does not say which RAM is free at its boot loader`, {
      where: config.file,
      next: "Add `bridge: { free_ram: { base: …, size: 64MiB } }` to its board file or type.",
    });
  }
  return await withBoard(config, context, {}, async ({ board }) => {
    await board.transition("bootloader", bootDeadline(config, context, undefined));
    const prompt = new LoaderPrompt(loaderConsoleOf(board), {
      prompt: new RegExp(boot.bootloader.prompt),
    });
    try {
      const limit = Deadline.after(TYPING_MS + calls.length * (smcMs + 10_000), "the SMCs", {
        abort: context.abort,
      });
      const direct = calls.every(bearsRepetition) ? await LoaderSmc.find(prompt, limit) : undefined;
      if (direct !== undefined) return await throughLoader(direct, calls, limit, smcMs);
      const window = new RamWindow(where.freeRam, config.file);
      const program = await assemble("console", context.env);
      const options = { prompt, window, program, lineLimit: where.lineLimit, smcMs };
      const bridge = await ConsoleBridge.start(options, limit);
      const answers: SmcAnswer[] = [];
      for (const call of calls) {
        const registers = registersOf(call);
        await bridge.smc(registers, limit);
        answers.push({ registers });
      }
      return answers;
    } finally {
      prompt.close();
    }
  });
}

/** U-Boot's own `smc` makes a call twice to be sure, and cannot set x7. */
const bearsRepetition = ({ registers }: SmcCall): boolean =>
  onlyAsks(Number(registers[0] ?? 0n)) && registers[7] === 0n;

async function throughLoader(
  loader: LoaderSmc,
  calls: readonly SmcCall[],
  limit: Deadline,
  smcMs: number,
): Promise<SmcAnswer[]> {
  const answers: SmcAnswer[] = [];
  for (const call of calls) {
    const registers = registersOf(call);
    const x = await loader.call(call.registers, limit, smcMs);
    for (const [index, word] of x.entries()) registers.set64(index, word);
    answers.push({ registers, known: x.length });
  }
  return answers;
}
