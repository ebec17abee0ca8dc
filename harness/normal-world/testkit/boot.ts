import { Scheduler, type Task } from "../../machine/index.ts";
import type { DriverResult } from "../driver-calls.ts";
import type { OpteeDriver } from "../driver.ts";
import type { KernelOptions } from "../kernel.ts";
import { Linux, type LinuxOptions } from "../linux.ts";
import { kernelCaller } from "../supplicant-queue.ts";
import { type ScriptedOptions, ScriptedWorld } from "./scripted-world.ts";

export interface BootOptions extends ScriptedOptions {
  readonly kernel?: Partial<KernelOptions> & Partial<LinuxOptions>;
  readonly seed?: number;
  /** Changes the secure world before the driver sees it. */
  readonly before?: (world: ScriptedWorld) => void;
}

/** A Linux on a scripted secure world. */
export class Bench {
  readonly world: ScriptedWorld;
  readonly scheduler: Scheduler;
  readonly linux: Linux;
  readonly log: string[] = [];

  constructor(options: BootOptions = {}) {
    this.scheduler = new Scheduler(options.seed ?? 1);
    this.world = new ScriptedWorld(options);
    options.before?.(this.world);
    this.linux = new Linux({
      name: "linux",
      tas: new Map(),
      log: (line) => this.log.push(line),
      ...options.kernel,
      conduit: this.world,
      scheduler: this.scheduler,
    });
  }

  /** The driver. Throws Error when its probe failed. */
  get driver(): OpteeDriver {
    const { driver } = this.linux;
    if (driver === undefined) throw new Error("the driver is not bound");
    return driver;
  }

  run<T>(task: Task<T>): T {
    return this.scheduler.run("test", task);
  }

  probe(): number {
    return this.run(this.linux.probe());
  }

  /** Probe and supplicant; throws Error when one fails. */
  boot(): this {
    const status = this.run(this.linux.boot());
    if (status < 0) throw new Error(`boot failed with ${status}`);
    return this;
  }

  /** Probe alone; throws Error when it fails. */
  probed(): this {
    const status = this.probe();
    if (status < 0) throw new Error(`probe failed with ${status}`);
    return this;
  }

  /** An invocation of session 1 by a client in the kernel. */
  invoke(): DriverResult {
    return this.run(this.driver.invoke(1, 0, 0, [], kernelCaller()));
  }
}
