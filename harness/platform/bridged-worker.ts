import { parentPort, workerData } from "node:worker_threads";
import {
  createBridgedPort,
  type FreeRam,
  receiveError,
  RemoteMachine,
  type RemoteLink,
  type Resident,
  type SentError,
  sendError,
  SharedRamMachine,
} from "../bridge/index.ts";
import { InternalError, LockstepError, secrets } from "../base/index.ts";
import type { Pa, PlatformPort } from "../machine/index.ts";
import type { RuleSetName } from "../mediator/index.ts";
import { TaDisk } from "./board-tas.ts";
import { BridgedPlatform } from "./bridged.ts";
import { Touched } from "./clean.ts";
import type { Combination } from "./combination.ts";
import { taImages } from "./emulated.ts";
import { EmulatedContext } from "./emulated-context.ts";
import { GuestPlatform } from "./guest-platform.ts";
import { pageOf, removeFromPhysmap, withInterrupts } from "./xen-guest.ts";
import { interruptPeriodOf } from "./interrupt-period.ts";
import { openRecording, type Recorder, type SharedRecording } from "./recording/index.ts";
import { loadScenario } from "./reference.ts";
import { RpmbBench } from "./rpmb-bench.ts";
import { isSameBuild } from "./rpmb-setup.ts";
import type { RestartOptions, Scenario } from "./scenario.ts";
import { type Data, Skipped } from "./target.ts";

/** What the worker is started with. */
export interface BridgedSetup {
  readonly machine:
    | { readonly kind: "shared-ram"; readonly resident: Resident }
    | { readonly kind: "wire"; readonly link: RemoteLink };
  /** RAM for the model, behind the resident program's own. */
  readonly ram: FreeRam;
  readonly seed: number;
  readonly tas: ReadonlyMap<string, Uint8Array>;
  /** What the TAs come from, where they may not be all that scenarios want. */
  readonly tasFrom?: string;
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

/** A key that the board's OP-TEE gave to a part: it must be masked wherever it turns up. */
export interface SecretMet {
  readonly secret: string;
}

/** What the worker asks for in the middle of a scenario: the machine switched off and on. */
export interface RestartAsked {
  readonly id: number;
  readonly how: "restart";
}

/** That it is so, with what has changed; or that it could not be done. */
export interface RestartDone {
  readonly restarted: number;
  readonly setup?: Pick<BridgedSetup, "machine" | "ram">;
  readonly error?: SentError;
}

/** How a scenario ended. `clean`: it provably left nothing behind in the secure world. */
export type BridgedOutcome = { readonly id: number; readonly clean: boolean } & (
  | { readonly how: "done"; readonly data: Data }
  | { readonly how: "skip"; readonly reason: string }
  | { readonly how: "failed"; readonly error: SentError }
);

// The model of a bridged machine: everything in here is synchronous, while the main thread drains the
// board's consoles.
const setup = workerData as BridgedSetup;
const { seed, tas, tasFrom, root, guestOf, strangers } = setup;
let { machine, ram } = setup;
let wire = machine.kind === "wire" ? new RemoteMachine(machine.link) : undefined;

/** What scenarios run on: our conduits, or what a hypervisor's guest has. */
function platformOf(
  on: Combination,
  port: PlatformPort,
  local: SharedRamMachine | undefined,
  onMissingTa: (uuid: string) => void,
  recorder: Recorder | undefined,
): BridgedPlatform | GuestPlatform {
  if (guestOf === undefined) {
    return new BridgedPlatform({
      seed,
      port,
      ram,
      tas,
      recorder,
      conduit: on.conduit,
      ...(on.rules === undefined ? {} : { rules: on.rules }),
      newDisk: () => new TaDisk(taImages().keys(), onMissingTa),
    });
  }
  if (local === undefined || machine.kind === "wire") {
    throw new InternalError("a hypervisor's guest is reached through its RAM");
  }
  const { page: program } = machine.resident;
  return new GuestPlatform({
    seed,
    port,
    ram,
    tas,
    recorder,
    rules: guestOf,
    unmap: (page) => removeFromPhysmap(local, program, page),
    ...(strangers !== undefined && { strangersPage: pageOf(local, strangers) }),
  });
}

/** Has the board switched off and on, and waits until its boot loader is as it was. */
async function powerCycle(id: number): Promise<void> {
  const port = parentPort;
  if (port === null) throw new InternalError("there is no board behind this thread");
  const done = new Promise<RestartDone>((resolve) => {
    const onMessage = (message: BridgedOrder | RestartDone): void => {
      if (!("restarted" in message) || message.restarted !== id) return;
      port.off("message", onMessage);
      resolve(message);
    };
    port.on("message", onMessage);
  });
  const asked: RestartAsked = { id, how: "restart" };
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  port.postMessage(asked);
  const { error, setup: changed } = await done;
  if (error !== undefined) throw receiveError(error);
  if (changed === undefined) return;
  machine = changed.machine;
  ram = changed.ram;
  wire = machine.kind === "wire" ? new RemoteMachine(machine.link) : undefined;
}

/** One boot of the machine for a scenario. */
interface Boot {
  readonly platform: BridgedPlatform | GuestPlatform;
  readonly local: SharedRamMachine | undefined;
}

function boot(
  scenario: Scenario,
  on: Combination,
  touched: Touched,
  onMissing: (uuid: string) => void,
  recorder: Recorder | undefined,
): Boot {
  const local = machine.kind === "wire" ? undefined : new SharedRamMachine(machine.resident);
  if (local !== undefined && machine.kind !== "wire" && machine.resident.hasTimer === true) {
    local.interruptEveryUs = interruptPeriodOf(scenario);
  }
  const reached =
    local !== undefined && guestOf !== undefined
      ? withInterrupts(local, scenario.interrupts ?? 0, seed)
      : (local ?? wire);
  if (reached === undefined) throw new InternalError("there is no machine");
  const port = touched.watch(createBridgedPort(reached, ram));
  return { local, platform: platformOf(on, port, local, onMissing, recorder) };
}

async function execute({ id, reference, args, on, record }: BridgedOrder): Promise<BridgedOutcome> {
  const touched = new Touched();
  const missing: string[] = [];
  const skipMissing = (): BridgedOutcome | undefined => {
    const [uuid] = missing;
    if (uuid === undefined || tasFrom === undefined) return undefined;
    const reason = `needs the TA ${uuid}, which is not in ${tasFrom}`;
    return { id, clean: touched.clean, how: "skip", reason };
  };
  const recording = record === undefined ? undefined : openRecording(record);
  let current: Boot | undefined;
  try {
    const scenario = await loadScenario(reference, root);
    const start = (): Boot => {
      current = boot(scenario, on, touched, (uuid) => missing.push(uuid), recording?.recorder);
      return current;
    };
    const bench = scenario.rpmb === undefined ? undefined : new RpmbBench(scenario.rpmb, learn);
    const restart = async ({ build }: RestartOptions): Promise<Boot["platform"]> => {
      if (build !== undefined && !isSameBuild(build, bench?.build ?? {})) {
        throw new Skipped("needs the board's OP-TEE exchanged for another build");
      }
      if (guestOf !== undefined)
        throw new Skipped("a hypervisor's guest cannot restart the machine");
      current?.local?.close();
      current = undefined;
      await powerCycle(id);
      return start().platform;
    };
    const context = new EmulatedContext<Boot["platform"]>(start().platform, {
      ...(bench === undefined ? {} : { rpmb: bench }),
      restart,
    });
    const data = await scenario.run(context, args);
    return skipMissing() ?? { id, clean: touched.clean, how: "done", data };
  } catch (error) {
    if (error instanceof Skipped) {
      return { id, clean: touched.clean, how: "skip", reason: error.reason };
    }
    const failed = { id, clean: false, how: "failed", error: sendError(error) } as const;
    // What the target does wrong is not excused by a TA that is not there.
    return error instanceof LockstepError ? failed : (skipMissing() ?? failed);
  } finally {
    recording?.close();
    current?.local?.close();
  }
}

/** A real OP-TEE's key: whoever writes down what happens here has to know it. */
const learn = (key: string): void => secrets.add(key);
secrets.watch((secret) => {
  const met: SecretMet = { secret };
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  parentPort?.postMessage(met);
});

parentPort?.on("message", (order: BridgedOrder | RestartDone) => {
  if ("restarted" in order) return;
  void execute(order).then((outcome) => {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    parentPort?.postMessage(outcome);
  });
});
