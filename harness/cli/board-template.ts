import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Interface } from "node:readline";
import {
  didYouMean,
  errorCode,
  InfrastructureError,
  InterruptedError,
  messageOf,
  UsageError,
} from "../base/index.ts";
import { listBoardTypes } from "../board/index.ts";
import type { CliContext } from "./context.ts";

export interface NewBoardOptions {
  readonly type?: string;
  readonly name?: string;
  readonly out?: string;
}

/** `lockstep boards new`: writes a commented board file, asking on a terminal for what was not given. */
export async function newBoardFile(context: CliContext, options: NewBoardOptions): Promise<void> {
  const questions = await Questions.on(context);
  try {
    const type = await chooseType(context, options, questions);
    const name = await chooseName(type, options, questions);
    const file = path.resolve(context.cwd, options.out ?? path.join("boards", `${name}.yaml`));
    await write(file, boardTemplate(type));
    context.out(`${file}\n`);
    const shown = path.relative(context.cwd, file);
    context.err(`Edit it, then: lockstep boards check ${shown.startsWith("..") ? file : shown}`);
  } finally {
    questions?.close();
  }
}

async function chooseType(
  context: CliContext,
  options: NewBoardOptions,
  questions: Questions | undefined,
): Promise<string> {
  const types = (await listBoardTypes(context)).map(({ name }) => name);
  const known = `Known types: ${types.join(", ")}.`;
  const type =
    options.type ?? (await questions?.ask(`Board type (${types.join(", ")})`, "qemu-virt"));
  if (type === undefined) throw lacks("type", known);
  if (types.includes(type)) return type;
  const guess = didYouMean(type, types);
  throw new UsageError(
    `there is no board type "${type}"${guess === undefined ? "" : `; ${guess}`}`,
    {
      next: known,
    },
  );
}

async function chooseName(
  type: string,
  options: NewBoardOptions,
  questions: Questions | undefined,
): Promise<string> {
  const given = options.name ?? (options.out && path.basename(options.out).replace(/\.ya?ml$/, ""));
  const name = given ?? (await questions?.ask("Board name", `my-${type}`));
  if (name === undefined) throw lacks("name", "The name is that of the file: boards/NAME.yaml.");
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) return name;
  throw new UsageError(`"${name}" cannot be a board's name`, {
    next: "Use letters, digits, `.`, `_` and `-`, at most 64.",
  });
}

function lacks(option: string, hint: string): UsageError {
  return new UsageError(`\`boards new\` needs --${option} where there is no terminal to ask on`, {
    next: hint,
  });
}

/** Asks questions on the terminal, one line each; answers typed ahead count. */
class Questions {
  readonly #terminal: Interface;
  readonly #lines: string[] = [];
  #wake: () => void = () => {};
  #ended = false;

  private constructor(terminal: Interface, abort: AbortSignal) {
    this.#terminal = terminal;
    terminal.on("line", (line) => {
      this.#lines.push(line);
      this.#wake();
    });
    const end = (): void => {
      this.#ended = true;
      this.#wake();
    };
    terminal.on("close", end);
    abort.addEventListener("abort", end, { once: true });
  }

  /** Undefined where there is no terminal to ask on. */
  static async on({ streams, abort }: CliContext): Promise<Questions | undefined> {
    const { stdin, stderr } = streams;
    if (stdin.isTTY !== true || stderr.isTTY !== true) return undefined;
    const { createInterface } = await import("node:readline");
    return new Questions(createInterface({ input: stdin, output: stderr }), abort);
  }

  async ask(question: string, proposal: string): Promise<string> {
    this.#terminal.setPrompt(`${question} [${proposal}]: `);
    this.#terminal.prompt();
    for (;;) {
      const line = this.#lines.shift();
      if (line !== undefined) return line.trim() === "" ? proposal : line.trim();
      if (this.#ended) throw new InterruptedError("no answer was given");
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  close(): void {
    this.#terminal.close();
  }
}

async function write(file: string, text: string): Promise<void> {
  try {
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, text, { flag: "wx" });
  } catch (error) {
    if (errorCode(error) === "EEXIST") {
      throw new UsageError(`${file} exists already`, {
        next: "Choose another --name or --out.",
        cause: error,
      });
    }
    throw new InfrastructureError(`${file} cannot be written: ${messageOf(error)}`, {
      next: "Choose another place with --out.",
      cause: error,
    });
  }
}

const QEMU_PART = `
# Either the reference image, which \`lockstep prepare\` makes ...
image: qemu-virt

# ... or files of your own, relative to this file. They also replace single files of the image.
# images:
#   bios: out/bin/bl1.bin           # QEMU's -bios; or \`flash:\` for a pflash drive
#   kernel: out/bin/Image
#   initrd: out/bin/rootfs.cpio.gz
#   append: console=ttyAMA0

# The machine, where it differs from the type's.
# qemu:
#   cpu: cortex-a53
#   cores: 2
#   memory: 1024MiB
#   options: { virtualization: on }
#   extra: [-device, virtio-rng-pci]
`;

const BOARD_PART = `
# Consoles by name; exactly one is primary. Use paths that survive re-plugging.
# consoles:
#   normal: { device: /dev/serial/by-path/..., baud: 115200, primary: true }
# character_delay: 5ms              # for a UART without flow control

# power: { driver: command, on: pdu on 4, off: pdu off 4, settle: 5s }
# on_exit: off                      # or leave

# This unit may be changed irreversibly (fuses, RPMB key).
# expendable: false
# life_cycle: unknown               # or open, closed: the HAB state of an i.MX8M

# rpmb:
#   device: /dev/mmcblk2rpmb        # the part on the board's Linux
#   optee: { write_key: false, compat: true, huk: caam-closed, routing: kernel }

# ssh:
#   host: 192.0.2.10
#   user: root
#   key: { file: keys/board }       # or { env: NAME }; never the key itself
#   host_key: keys/board-host.pub
`;

/** The text of a new board file of type `type`; it loads as it is where the type is complete. */
export function boardTemplate(type: string): string {
  const part = type === "emulated" ? "" : type.startsWith("qemu") ? QEMU_PART : BOARD_PART;
  return `# One board. The name of this file is the board's name; docs/board-files.md explains every key.
# What is said here wins over the type; maps are merged key by key, lists are replaced.
type: ${type}
# description: the board on shelf 3
${part}`;
}
