import { Command } from "commander";
import { didYouMean, InterruptedError, UsageError } from "../../base/index.ts";
import { listBoards, loadBoard } from "../../board/index.ts";
import {
  boardProgram,
  findPrepared,
  imageNames,
  prepareImage,
  type PreparedImage,
} from "../../images/index.ts";
import type { CliContext, CommandBuilder } from "../context.ts";
import { examples } from "../help.ts";
import { boardName } from "../options.ts";

interface PrepareFlags {
  readonly mirror?: string;
  readonly update?: boolean;
  readonly rebuild?: boolean;
  readonly json?: boolean;
}

export const build: CommandBuilder = (context) => {
  const command = new Command("prepare")
    .description(
      "Make the reference image that a board boots, from Debian packages that apt resolves and " +
        "verifies in a folder of its own. Needs no root and installs nothing. An image that is " +
        "already there is found at once, without network. Prints the image's folder.",
    )
    .argument("[board]", "a board, or a reference image (default: LOCKSTEP_BOARD)")
    .option(
      "--mirror <url>",
      "Debian mirror (default: LOCKSTEP_DEBIAN_MIRROR, else this host's own apt sources)",
    )
    .option("--update", "look for newer packages, and make the image again if there are any")
    .option("--rebuild", "make the image again with new SSH keys, even if nothing changed")
    .option("--json", "print the image and its manifest as JSON")
    .action((board: string | undefined, flags: PrepareFlags) =>
      prepare(context, boardName(board, context, "prepare"), flags),
    );
  return examples(command, [
    ["lockstep prepare qemu-virt", "make the image of board qemu-virt"],
    ["lockstep prepare qemu-virt --update", "take in what Debian has released since"],
    ["lockstep prepare qemu-virt --mirror URL", "from this mirror, the folder that holds dists/"],
    ["lockstep prepare qemu-virt --json", "every package with version and SHA-256"],
  ]);
};

async function prepare(context: CliContext, board: string, flags: PrepareFlags): Promise<void> {
  const { image: name, rpmb } = await wantedBy(context, board);
  const helperOf = async (): Promise<string | undefined> =>
    rpmb ? await boardProgram("lockstep-rpmb", context) : undefined;
  if (name === undefined) {
    const helper = await helperOf();
    const rest = helper === undefined ? "there is nothing to prepare" : "its RPMB helper is ready";
    context.err(`board ${board} boots no reference image: ${rest}`);
    if (flags.json === true) {
      context.out(`${JSON.stringify({ board, image: null, ...programs(helper) })}\n`);
    }
    return;
  }
  const before = await findPrepared(name, context.env);
  const image = await prepareImage(name, {
    env: context.env,
    progress: context.progress,
    abort: context.abort,
    ...(flags.mirror !== undefined && { mirror: flags.mirror }),
    ...(flags.update !== undefined && { update: flags.update }),
    ...(flags.rebuild !== undefined && { rebuild: flags.rebuild }),
  });
  if (context.abort.aborted) throw new InterruptedError("interrupted");
  const made = before?.dir !== image.dir;
  const helper = await helperOf();
  if (flags.json === true) {
    context.out(
      `${JSON.stringify({ board, image: name, made, ...programs(helper), ...image }, undefined, 2)}\n`,
    );
    return;
  }
  summarize(context, image, made);
  context.out(`${image.dir}\n`);
}

const programs = (rpmbHelper: string | undefined): { readonly rpmbHelper?: string } =>
  rpmbHelper === undefined ? {} : { rpmbHelper };

interface Wanted {
  readonly image: string | undefined;
  /** The board has a part that our helper on its Linux can read. */
  readonly rpmb: boolean;
}

/** What a board needs; what is no board may be the name of an image. */
async function wantedBy(context: CliContext, board: string): Promise<Wanted> {
  const boards = (await listBoards(context)).map(({ name }) => name);
  const isPath = board.includes("/") || board.endsWith(".yaml") || board.endsWith(".yml");
  if (isPath || boards.includes(board)) {
    const { image, rpmb } = await loadBoard(board, context);
    return { image, rpmb: rpmb?.device !== undefined || rpmb?.emulated !== undefined };
  }
  const images = await imageNames();
  if (images.includes(board)) return { image: board, rpmb: false };
  const guess = didYouMean(board, [...boards, ...images]);
  throw new UsageError(
    `there is no board or reference image "${board}"${guess === undefined ? "" : `; ${guess}`}`,
    { next: `Boards: ${boards.join(", ")}. Images: ${images.join(", ")}.` },
  );
}

/** Packages that a person asks for first. */
const SHOWN = ["optee-os", "optee-test-qemu", "tee-supplicant", "u-boot-qemu"] as const;

function summarize(context: CliContext, image: PreparedImage, made: boolean): void {
  const { manifest, packages } = image;
  const sources = manifest.sources.map((each) => `${each.name} ${each.version}`);
  const shown = SHOWN.flatMap((name) => {
    if (manifest.sources.some((each) => each.name === name)) return [];
    return [`${name} ${packages[name] ?? "absent"}`];
  });
  const kernel = Object.keys(packages).find((name) => /^linux-image-\d/.test(name)) ?? "no kernel";
  context.err(`image ${image.name} ${made ? "is ready" : "was there already"}`);
  context.err(`  ${[...sources, ...shown, kernel].join(", ")}`);
  for (const note of manifest.notes) context.err(`  note: ${note}`);
}
