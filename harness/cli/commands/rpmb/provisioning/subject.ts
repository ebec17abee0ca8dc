import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { UsageError } from "../../../../base/index.ts";
import { type BoardConfig, loadBoard } from "../../../../board/index.ts";
import type { BoardView } from "../../../../provision/index.ts";
import type { CliContext } from "../../../context.ts";
import { boardName } from "../../../options.ts";
import type { ProvisionFlags } from "./flags.ts";

/** What is to be provisioned: a board, or the state file of an emulated part alone. */
export interface Subject {
  readonly view: BoardView;
  readonly config?: BoardConfig;
  /** Where Lockstep itself keeps the part; absolute. */
  readonly state?: string;
}

/** Reads the board file, or takes the state file. Throws UsageError and BoardFileError. */
export async function subjectOf(context: CliContext, flags: ProvisionFlags): Promise<Subject> {
  if (flags.image !== undefined) {
    if (flags.board !== undefined) throw new UsageError("--image and --board exclude each other");
    return imageSubject(path.resolve(context.cwd, flags.image), flags);
  }
  if (flags.perform === true && flags.board === undefined) {
    throw new UsageError("the board to be programmed must be named on the command line", {
      expected: "--board; LOCKSTEP_BOARD is not enough for what cannot be undone",
    });
  }
  const config = await loadBoard(
    boardName(flags.board, context, "rpmb provision", "rpmb provision --board shelf-3"),
    context,
  );
  const state = config.rpmb?.emulated?.state;
  return { config, view: boardView(config), ...(state !== undefined && { state }) };
}

function imageSubject(state: string, { route }: ProvisionFlags): Subject {
  return {
    state,
    view: {
      name: path.basename(state),
      file: "",
      fileHash: "",
      platform: "emulated",
      soc: "an emulated part alone",
      lifeCycle: "unknown",
      expendable: false,
      ssh: false,
      build: { supplicantEmulation: false, ...(route === "write-key-build" && { writeKey: true }) },
    },
  };
}

/** The file is read again, so that the plan is bound to what stands in it. */
function boardView(config: BoardConfig): BoardView {
  const { name, file, platform, soc, lifeCycle, expendable, rpmb } = config;
  return {
    name,
    file,
    fileHash: createHash("sha256").update(readFileSync(file)).digest("hex"),
    platform,
    soc,
    lifeCycle,
    expendable,
    ssh: config.ssh !== undefined,
    build: rpmb?.optee ?? {},
  };
}
