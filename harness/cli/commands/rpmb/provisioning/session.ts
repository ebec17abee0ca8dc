import type { KeyObject } from "node:crypto";
import { existsSync } from "node:fs";
import { InfrastructureError, InternalError, UsageError } from "../../../../base/index.ts";
import { type LivePart, programKey, type Situation } from "../../../../provision/index.ts";
import { channelTo, EmmcRpmb, openRpmbState, readRpmbState } from "../../../../rpmb/index.ts";
import type { CliContext } from "../../../context.ts";
import type { ProvisionFlags } from "./flags.ts";
import type { Subject } from "./subject.ts";

/** A part that is at hand, and what can be done to it on a route. */
export interface Session {
  readonly where: string;
  readonly emulated: boolean;
  readonly sizeMultiplier?: number;
  readonly live: LivePart;
  readonly tools: Situation["tools"];
  /** Reads the key out of the board's OP-TEE, on route key-service. */
  readonly readKey?: (cid: string) => Promise<KeyObject>;
  /** The irreversible step. */
  act(key: KeyObject | undefined): Promise<string>;
}

export type SessionWork<T> = (session: Session) => Promise<T>;

/** Brings the part to hand for as long as `work` takes. Throws what reaching it throws. */
export async function withSession<T>(
  context: CliContext,
  flags: ProvisionFlags,
  subject: Subject,
  work: SessionWork<T>,
): Promise<T> {
  const { config, state, view } = subject;
  const onBoard = flags.route === "write-key-build" || flags.route === "key-service";
  const served = config?.rpmb?.emulated;
  if (config === undefined || (served !== undefined && !onBoard)) {
    return await onStateFile(flags, subject, work);
  }
  if (view.platform === "emulated") {
    if (flags.route === "key-service") throw noService(view.name, view.file);
    const { onModel } = await import("./model.ts");
    return await onModel(flags, subject, work);
  }
  if (served !== undefined && view.platform === "hardware") {
    throw new UsageError(`route ${flags.route ?? ""} would use the board's own part`, {
      where: view.file,
      seen: "a board of hardware whose part Lockstep serves (`rpmb.part: emulated`)",
      next: "Describe the board with its `rpmb.device`, or take route offline or database.",
    });
  }
  if (served !== undefined && config.ssh !== undefined && config.ssh.host !== "forward") {
    throw new UsageError(`route ${flags.route ?? ""} would send commands to another machine`, {
      where: view.file,
      expected:
        "`ssh.host: forward`: the Linux to which Lockstep serves the part (`rpmb.part: emulated`)",
      seen: `ssh.host: ${config.ssh.host}`,
      next: "Describe a machine that has a part of its own by a board file with `rpmb.device`.",
    });
  }
  const board = await import("./board-session.ts");
  if (served !== undefined) return await board.onServedPart(context, flags, config, state, work);
  return await board.onDevice(context, flags, config, work);
}

const noService = (name: string, file: string): UsageError =>
  new UsageError(`board ${name} runs no OP-TEE whose key could be read out`, {
    ...(file !== "" && { where: file }),
    next: "Take route offline: what the service would answer is derived there.",
  });

/** A part in a file, which this process alone has while it may be changed. */
async function onStateFile<T>(
  flags: ProvisionFlags,
  subject: Subject,
  work: SessionWork<T>,
): Promise<T> {
  if (flags.route === "key-service") throw noService(subject.view.name, subject.view.file);
  if (flags.route === "write-key-build") {
    const { onModel } = await import("./model.ts");
    return await onModel(flags, subject, work);
  }
  return await withStateFile(flags, subject, async (device, where) => {
    const channel = channelTo(device);
    return await work({
      where,
      emulated: true,
      sizeMultiplier: device.sizeMultiplier,
      live: { channel, cid: async () => Buffer.from(device.cid).toString("hex") },
      tools: {},
      act: async (key) => {
        if (key === undefined) throw new InternalError("there is no key to write");
        await programKey(channel, key);
        return "programmed in the file of the emulated part";
      },
    });
  });
}

/** The emulated part of a subject: for a plan a copy in memory, for an act the file itself. */
export async function withStateFile<T>(
  flags: ProvisionFlags,
  { state, config, view }: Subject,
  work: (device: EmmcRpmb, where: string) => Promise<T>,
): Promise<T> {
  const served = config?.rpmb?.emulated;
  const create =
    served === undefined
      ? undefined
      : { cid: Buffer.from(served.cid, "hex"), sizeMultiplier: served.sizeMultiplier };
  if (state === undefined) {
    throw new UsageError(`board ${view.name} keeps its emulated part nowhere`, {
      where: view.file,
      expected: "`rpmb: { part: emulated, state: FILE }`",
      next: "Without a file the part is blank at each power-on: a key that is written is gone at once.",
    });
  }
  const where = state;
  if (flags.perform !== true) {
    if (!existsSync(state) && create !== undefined) return await work(new EmmcRpmb(create), where);
    return await work(readRpmbState(state), where);
  }
  const device = openRpmbState(state, create === undefined ? {} : { create });
  try {
    return await work(device, where);
  } finally {
    device.close();
  }
}

/** 32 digits from the bytes that a part reports. Throws InfrastructureError where there are none. */
export function reportedCid(cid: Uint8Array | undefined, where: string): string {
  if (cid !== undefined) return Buffer.from(cid).toString("hex");
  throw new InfrastructureError("the part's CID cannot be read", {
    where,
    expected: "/sys/class/mmc_host/mmcN/mmcN:0001/cid on the board's Linux",
    next: "Nothing is programmed into a part that does not say which one it is.",
  });
}
