import type { Conduit, Ipa, Registers, Scheduler, SpawnedTask, Task } from "../machine/index.ts";
import type { RuleSetName, Vm } from "../mediator/index.ts";
import type { Linux, TeecContext } from "../normal-world/index.ts";
import type { RpmbContext } from "./rpmb-bench.ts";
import type { RpmbBuildOptions, RpmbRoute, RpmbSetup } from "./rpmb-setup.ts";
import type { Data } from "./target.ts";

/** One SMC as seen at a driver's conduit or at the platform's port. `registers` is live: copy it. */
export interface SmcObservation {
  readonly where: "conduit" | "port";
  readonly phase: "enter" | "leave";
  /** The guest whose driver issued it; at the port undefined, where a7 says who calls. */
  readonly guest: number | undefined;
  readonly registers: Registers;
}

/** One normal world: a VM behind the mediator, or the only one on the other conduits. */
export interface Guest {
  readonly index: number;
  readonly conduit: Conduit;
  /** Its kernel, not probed yet. */
  readonly kernel: Linux;
  /** The kernel with driver and supplicant up; boots it on first use. Not from within a task. */
  readonly linux: Linux;
  /**
   * The VM behind it, for what a hypervisor can do to it; undefined on the other conduits and behind
   * a mediator that is not Lockstep's.
   */
  readonly vm: Vm | undefined;
  /** Starts a task on its vCPUs, which ends with the VM where it is. */
  spawn<T>(name: string, body: Task<T>): SpawnedTask<T>;
  /**
   * Takes a page out of the guest's address space, as its own balloon does. Throws Skipped where that
   * cannot be done.
   */
  unmap(page: Ipa): void;
  /** Ends a VM: vCPUs stop, the mediator tears it down. Throws Skipped where that cannot be done. */
  destroy(): void;
}

/** A page of the machine's RAM that a guest has no right to, as it is seen from outside of the guest. */
export interface StrangersPage {
  /** Its address in the machine. */
  readonly pa: bigint;
  /** 4096 bytes. */
  read(): Uint8Array;
  write(bytes: Uint8Array): void;
}

/**
 * What a scenario is given: the platform brought up with the conduit it asked for, and the normal
 * world on top. The same object stands before an emulated and a bridged secure world.
 */
export interface ScenarioContext {
  /** The first guest's conduit, for scenarios that speak in registers. */
  readonly conduit: Conduit;
  /** The mediator's rules in force; undefined on the other conduits. */
  readonly rules: RuleSetName | undefined;
  readonly seed: number;
  readonly scheduler: Scheduler;
  /** The guest of that number, made on first use. Throws Skipped where there can be only one. */
  guest(index?: number): Guest;
  /** A GP client context in a new process of a guest that is booted for it. Not from within a task. */
  client(guest?: number): TeecContext;
  /** Runs `body` to its end, everything else interleaved, and gives its value. */
  execute<T>(body: Task<T>): T;
  /**
   * A page that is not the first guest's: another guest's, or one of nobody's. Throws Skipped where the
   * machine's addresses are not known.
   */
  strangersPage(): StrangersPage;
  /** The machine's parts, for scenarios that say what they need of them (`Scenario.rpmb`). */
  readonly rpmb: RpmbContext;
  /**
   * Switches the machine off and on: secure world, mediator and normal worlds begin anew, virtual time
   * too. What RPMB parts hold and the normal worlds' files stay. Not from within a task.
   */
  restart(options?: RestartOptions): Promise<void>;
  /** Has every SMC reported, at the conduits and at the port, until the scenario ends. */
  observe(listener: (seen: SmcObservation) => void): void;
  /** Ends the scenario as skipped. */
  skip(reason: string): never;
}

/** What is different after the machine was switched off and on. */
export interface RestartOptions {
  /** Another OP-TEE was flashed meanwhile. Throws Skipped where that is not at hand. */
  readonly build?: RpmbBuildOptions;
  /** The normal world came up with another route to the part. */
  readonly route?: RpmbRoute;
}

/** A normal-world program, a named export of `suites/<subject>/*.scenario.ts`. */
export interface Scenario<C = ScenarioContext> {
  /** Conduits that it can run on; a suite that takes only one takes the first that the board has. */
  readonly conduits: readonly Conduit["kind"][];
  /** Clause ids that it exercises. */
  readonly clauses: readonly string[];
  /** The mediator's rules that it can run under, on conduit `vm`; all when left out, `strict` first. */
  readonly rules?: RuleSetName | readonly RuleSetName[];
  /**
   * How many VMs there are at once, on conduit `vm`. The emulated secure world is built with room for
   * them; elsewhere, and when left out, what there is decides.
   */
  readonly vms?: number;
  /**
   * How many in a thousand of the places where the secure world can be interrupted find an interrupt
   * pending, on the emulated platform, and how many in a thousand SMCs meet one as a hypervisor's guest;
   * other machines have their own. 0 when left out.
   */
  readonly interrupts?: number;
  /**
   * OP-TEE has RPMB storage, built in this way, and these are the parts. The emulated platform's is made
   * so, of the release that the boards with RPMB have; on a board that is built otherwise the scenario is
   * skipped. Without it there is none, as in Debian's build.
   */
  readonly rpmb?: RpmbSetup;
  /**
   * At how many in a thousand of the mediator's accesses to memory another vCPU gets a turn, in the
   * middle of the call, on the emulated platform; real ones run side by side. 0 when left out.
   */
  readonly parallel?: number;
  /**
   * The outcome depends on which frame a page is on at a certain moment, as an attack on freed memory
   * does: kept out of `--stress memory`.
   */
  readonly undisturbed?: boolean;
  /**
   * What it does on the way depends on what no two platforms have in common: when interrupts come, how
   * much memory a build has, which address a page is at. Only how it ends is held against another platform.
   */
  readonly resultsOnly?: boolean;
  run(context: C, args: Data): Data | Promise<Data>;
}
