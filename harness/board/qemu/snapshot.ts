import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Deadline, InfrastructureError } from "../../base/index.ts";
import type { Qmp } from "./qmp.ts";

const FILE_NODE = "lockstep-state-file";
const NODE = "lockstep-state";
const TAG = "lockstep";
const JOB = "lockstep-job";
/** A qcow2 image needs a size; the state does not count towards it. */
const DISK_BYTES = 1024 * 1024;
const POLL_MS = 5;

/**
 * Saves the whole machine, RAM included, into a qcow2 file of its own in `dir`; it goes on running.
 * Replaces what was saved before. Throws InfrastructureError with QEMU's words.
 */
export async function saveState(qmp: Qmp, dir: string, deadline: Deadline): Promise<void> {
  const nodes = await qmp.execute("query-named-block-nodes", { flat: true }, deadline);
  const known = Array.isArray(nodes) && nodes.some((node) => nodeName(node) === NODE);
  if (known) await job(qmp, "snapshot-delete", { tag: TAG, devices: [NODE] }, deadline);
  else await makeDisk(qmp, path.join(dir, "state.qcow2"), deadline);
  await job(qmp, "snapshot-save", { tag: TAG, vmstate: NODE, devices: [NODE] }, deadline);
}

/** Puts the machine back to what `saveState` saved, and lets it run. */
export async function loadState(qmp: Qmp, deadline: Deadline): Promise<void> {
  await qmp.execute("stop", {}, deadline);
  await job(qmp, "snapshot-load", { tag: TAG, vmstate: NODE, devices: [NODE] }, deadline);
  await qmp.execute("cont", {}, deadline);
}

/** An empty disk that no device of the machine is attached to. */
async function makeDisk(qmp: Qmp, filename: string, deadline: Deadline): Promise<void> {
  const create = async (options: Readonly<Record<string, unknown>>): Promise<void> =>
    await job(qmp, "blockdev-create", { options }, deadline);
  await create({ driver: "file", filename, size: 0 });
  await qmp.execute("blockdev-add", { driver: "file", filename, "node-name": FILE_NODE }, deadline);
  await create({ driver: "qcow2", file: FILE_NODE, size: DISK_BYTES });
  await qmp.execute(
    "blockdev-add",
    { driver: "qcow2", file: FILE_NODE, "node-name": NODE },
    deadline,
  );
}

/** Runs a command that QEMU carries out as a job, to the job's end. */
async function job(
  qmp: Qmp,
  command: string,
  args: Readonly<Record<string, unknown>>,
  deadline: Deadline,
): Promise<void> {
  await qmp.execute(command, { "job-id": JOB, ...args }, deadline);
  for (;;) {
    const jobs = await qmp.execute("query-jobs", {}, deadline);
    const own = Array.isArray(jobs)
      ? (jobs as Record<string, unknown>[]).find((one) => one["id"] === JOB)
      : undefined;
    if (own?.["status"] === "concluded") {
      await qmp.execute("job-dismiss", { id: JOB }, deadline);
      if (typeof own["error"] === "string") {
        throw new InfrastructureError(`QEMU could not carry out ${command}: ${own["error"]}`);
      }
      return;
    }
    if (own === undefined) throw new InfrastructureError(`QEMU lost the job of ${command}`);
    await deadline.race(sleep(POLL_MS));
  }
}

const nodeName = (node: unknown): unknown =>
  typeof node === "object" && node !== null ? (node as Record<string, unknown>)["node-name"] : "";
