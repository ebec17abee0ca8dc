import { parentPort, workerData } from "node:worker_threads";
import {
  createBridgedPort,
  type FreeRam,
  type Resident,
  SharedRamMachine,
} from "../bridge/index.ts";
import { LockstepError, messageOf } from "../base/index.ts";
import type { Pa } from "../machine/index.ts";
import type { RuleSetName } from "../mediator/index.ts";
import { BridgedPlatform } from "./bridged.ts";
import type { Combination } from "./combination.ts";
import { EmulatedContext } from "./emulated-context.ts";
import { GuestPlatform } from "./guest-platform.ts";
import { pageOf, removeFromPhysmap } from "./xen-guest.ts";
import { openRecording, type SharedRecording } from "./recording/index.ts";
import { loadScenario } from "./reference.ts";
import { type Data, Skipped } from "./target.ts";

/** What the worker is started with. */
export interface BridgedSetup {
  readonly resident: Resident;
  /** RAM for the model, behind the resident program's own. */
  readonly ram: FreeRam;
  readonly seed: number;
  readonly tas: ReadonlyMap<string, Uint8Array>;
  readonly root: string | undefined;
  /** Set where the program is a hypervisor's guest: the rules that its mediator follows. */
  readonly guestOf?: RuleSetName;
  /** A page of the machine's that is not that guest's. */
  readonly strangers?: Pa;
}

export interface BridgedOrder {
  readonly id: number;
  readonly reference: string;
  readonly args: Data;
  readonly on: Combination;
  /** How the run is to be recorded; not at all when left out. */
  readonly record?: SharedRecording;
}

/** How a scenario ended; `crash` is the target's, `error` the scenario's own or ours. */
export type BridgedOutcome = { readonly id: number } & (
  | { readonly how: "done"; readonly data: Data }
  | { readonly how: "skip"; readonly reason: string }
  | { readonly how: "crash" | "error"; readonly message: string; readonly seen?: string }
);

// The model of a bridged machine: everything in here is synchronous, while the main thread drains the
// board's consoles.
const { resident, ram, seed, tas, root, guestOf, strangers } = workerData as BridgedSetup;

async function execute({ id, reference, args, on, record }: BridgedOrder): Promise<BridgedOutcome> {
  const machine = new SharedRamMachine(resident);
  const recording = record === undefined ? undefined : openRecording(record);
  try {
    const scenario = await loadScenario(reference, root);
    const parts = { seed, port: createBridgedPort(machine, ram), ram, tas };
    const platform =
      guestOf === undefined
        ? new BridgedPlatform({
            ...parts,
            conduit: on.conduit,
            ...(on.rules === undefined ? {} : { rules: on.rules }),
          })
        : new GuestPlatform({
            ...parts,
            rules: guestOf,
            unmap: (page) => removeFromPhysmap(machine, resident.page, page),
            ...(strangers !== undefined && { strangersPage: pageOf(machine, strangers) }),
          });
    const context = new EmulatedContext(platform, recording?.recorder);
    return { id, how: "done", data: await scenario.run(context, args) };
  } catch (error) {
    if (error instanceof Skipped) return { id, how: "skip", reason: error.reason };
    const crash = error instanceof LockstepError && error.exitCode === 5;
    const seen = error instanceof LockstepError ? error.seen : undefined;
    return {
      id,
      how: crash ? "crash" : "error",
      message: messageOf(error),
      ...(seen === undefined ? {} : { seen }),
    };
  } finally {
    recording?.close();
    machine.close();
  }
}

parentPort?.on("message", (order: BridgedOrder) => {
  void execute(order).then((outcome) => {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    parentPort?.postMessage(outcome);
  });
});
