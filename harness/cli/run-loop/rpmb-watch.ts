import { Deadline } from "../../base/index.ts";
import type { BoardObserver } from "../../board/index.ts";
import { boardProgram } from "../../images/index.ts";
import { openBoardHelper } from "../../provision/index.ts";
import { verifyKey } from "../../rpmb/index.ts";
import { type CaseResult, usesRpmbStorage } from "../../run/index.ts";
import { hukInputs, knownKeys } from "../known-keys.ts";
import type { CliContext } from "../context.ts";
import type { OpenedBoard } from "../open-board.ts";
import {
  type AskedCounter,
  establishRpmb,
  LINUX_SIGNS_SCRIPT,
  type LinuxSigns,
  parseLinuxSigns,
  type RpmbFacts,
  tellsOfRpmb,
} from "./rpmb-facts.ts";

/** What looking at a board may take, before its run and after it. */
const LOOK_MS = 30_000;
const KEPT_LINES = 32;

/** Looks at a board's RPMB in the course of a run: cheaply, and without changing anything. */
export class RpmbWatch {
  readonly #log: string[] = [];
  #linux: LinuxSigns | undefined;
  #asked: { before?: AskedCounter; after?: AskedCounter } = {};
  #served: OpenedBoard["part"];

  /** The observer, with the consoles' lines also looked through. */
  over(observer: BoardObserver): BoardObserver {
    return {
      ...observer,
      line: (stream, offset, text, at) => {
        if (this.#log.length < KEPT_LINES && tellsOfRpmb(text)) this.#log.push(text);
        observer.line(stream, offset, text, at);
      },
    };
  }

  /** Asks the board's Linux, and the part where our helper reaches it. Never throws. */
  async look(opened: OpenedBoard, context: CliContext, when: "before" | "after"): Promise<void> {
    this.#served = opened.part;
    const { board, config } = opened;
    if (board.state !== "tee-ready") return;
    try {
      const over = config.ssh === undefined ? "console" : "ssh";
      const limit = Deadline.after(LOOK_MS, `looking at RPMB on ${config.name}`, {
        abort: context.abort,
      });
      const { stdout } = await board.command(over).exec(LINUX_SIGNS_SCRIPT, limit);
      this.#linux = parseLinuxSigns(Buffer.from(stdout).toString("latin1")) ?? this.#linux;
      const asked = await counterOf(opened, context, limit);
      if (asked !== undefined) this.#asked[when] = asked;
    } catch {
      // What cannot be looked at stays unknown; the run is of something else.
    }
  }

  /** What all of it comes to, with the cases of the board that have ended. */
  facts(cases: readonly CaseResult[], platform: "qemu" | "hardware"): RpmbFacts {
    const uses = this.#served?.uses() ?? [];
    const [first, last] = [uses[0], uses.at(-1)];
    const storage = cases.filter(storesInXtest);
    return establishRpmb({
      platform,
      log: this.#log,
      storageCases: { rpmb: storage.filter(usesRpmbStorage).length, all: storage.length },
      asked: this.#asked,
      ...(this.#linux !== undefined && { linux: this.#linux }),
      ...(first !== undefined &&
        last !== undefined && {
          served: {
            frames: uses.reduce((sum, { frames }) => sum + frames, 0),
            counterBefore: first.counterBefore,
            counterAfter: last.counterAfter,
          },
        }),
    });
  }
}

/** Whether a case of xtest stored something, wherever. */
const storesInXtest = ({ suite, subcases = [] }: CaseResult): boolean =>
  suite === "xtest" && subcases.some(({ title }) => title?.startsWith("Storage id:"));

/** The counter of a part that the board file names, over SSH: a console is too slow for the helper. */
async function counterOf(
  { board, config }: OpenedBoard,
  context: CliContext,
  deadline: Deadline,
): Promise<AskedCounter | undefined> {
  const device = config.rpmb?.device;
  if (device === undefined || config.ssh === undefined) return undefined;
  const helper = await openBoardHelper({
    commands: board.command("ssh"),
    files: board.files,
    program: await boardProgram("lockstep-rpmb", context),
    device,
    deadline,
    where: config.name,
  });
  try {
    const cid = helper.facts.cid ?? Buffer.from(config.rpmb?.expectedCid ?? "", "hex");
    const huks = await hukInputs(context, {}, config).catch(() => []);
    const { matches, counter } = await verifyKey(
      helper,
      cid.length === 0 ? [] : knownKeys(cid, huks, undefined),
    );
    const [found] = matches;
    return {
      ...(counter !== undefined && { value: counter.value }),
      authentic: counter?.authentic ?? false,
      ...(found !== undefined && counter?.authentic === true && { route: found.name }),
    };
  } finally {
    await helper.close();
  }
}

/** What the scenarios of a board say of its RPMB: they are served parts of ours, and no others. */
export function scenarioFacts(cases: readonly CaseResult[]): RpmbFacts | undefined {
  if (!cases.some((one) => one.suite === "rpmb" && usesRpmbStorage(one))) return undefined;
  const rpmb = "emulated by Lockstep";
  const how = ["Lockstep serves the part of every scenario to the board's OP-TEE, as to the model"];
  return { rpmb, rpmbEvidence: { how, scenarios: rpmb } };
}

/** Both together: what the board's Linux used decides, unless only scenarios used anything. */
export function joinRpmbFacts(linux: RpmbFacts, cases: readonly CaseResult[]): RpmbFacts {
  const scenarios = scenarioFacts(cases);
  if (scenarios === undefined) return linux;
  const stored = cases.some((one) => storesInXtest(one) && usesRpmbStorage(one));
  const isKnown = stored || (linux.rpmb !== "unknown" && linux.rpmb !== "none");
  const how = [...linux.rpmbEvidence.how, ...scenarios.rpmbEvidence.how];
  return {
    ...linux,
    rpmb: isKnown ? linux.rpmb : scenarios.rpmb,
    rpmbEvidence: { ...scenarios.rpmbEvidence, ...linux.rpmbEvidence, how },
  };
}
