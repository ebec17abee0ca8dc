import type { Task } from "../machine/index.ts";
import type { Credentials } from "../tee-uapi/index.ts";
import { OpteeDriver } from "./driver.ts";
import { Kernel, type KernelOptions } from "./kernel.ts";
import { Process } from "./process.ts";
import { Supplicant } from "./supplicant.ts";
import { TeeDevice } from "./tee-device.ts";

export interface LinuxOptions extends KernelOptions {
  /** What tee-supplicant finds in its TA folder, by UUID. */
  readonly tas: ReadonlyMap<string, Uint8Array>;
}

/** One Linux with the OP-TEE driver and tee-supplicant, on a conduit of its own. */
export class Linux {
  readonly kernel: Kernel;
  readonly #tas: ReadonlyMap<string, Uint8Array>;
  readonly #devices = new Map<string, TeeDevice>();
  #driver: OpteeDriver | undefined;
  #supplicant: Supplicant | undefined;
  #processes = 0;

  constructor(options: LinuxOptions) {
    this.kernel = new Kernel(options);
    this.#tas = options.tas;
  }

  get name(): string {
    return this.kernel.name;
  }

  /** The driver, once its probe succeeded. */
  get driver(): OpteeDriver | undefined {
    return this.#driver;
  }

  get supplicant(): Supplicant | undefined {
    return this.#supplicant;
  }

  get devices(): ReadonlyMap<string, TeeDevice> {
    return this.#devices;
  }

  /** Probes the driver; 0, or the negative errno with which the probe failed. */
  *probe(): Task<number> {
    const probed = yield* OpteeDriver.probe(this.kernel);
    if (!probed.ok) return -probed.errno;
    this.#driver = probed.driver;
    this.#devices.set("/dev/tee0", new TeeDevice(probed.driver, false));
    this.#devices.set("/dev/teepriv0", new TeeDevice(probed.driver, true));
    return 0;
  }

  /** Starts tee-supplicant; a negative errno when it cannot have the device. */
  *startSupplicant(): Task<number> {
    const supplicant = new Supplicant(this.process("tee-supplicant"), this.#tas);
    const started = yield* supplicant.start();
    if (started < 0) return started;
    this.#supplicant = supplicant;
    supplicant.run();
    const scan = this.#devices.get("/dev/teepriv0")?.scan;
    if (scan !== undefined) yield* scan.join();
    return 0;
  }

  /**
   * Unbinds the driver (SMC-9.11). Waits, as Linux does, until every context of its devices has been
   * released; new ones cannot be opened.
   */
  *remove(): Task {
    const driver = this.#driver;
    if (driver === undefined) return;
    const devices = [...this.#devices.values()];
    this.#devices.clear();
    this.#driver = undefined;
    for (const device of devices) while (device.contexts > 0) yield device.released;
    yield* driver.remove();
  }

  /** Probe and supplicant together: what a booted system has. */
  *boot(): Task<number> {
    const probed = yield* this.probe();
    return probed < 0 ? probed : yield* this.startSupplicant();
  }

  /** A new process; root unless told otherwise. */
  process(name?: string, credentials?: Credentials): Process {
    this.#processes += 1;
    return new Process({
      name: `${this.name} ${name ?? `process ${this.#processes}`}`,
      kernel: this.kernel,
      devices: this.#devices,
      ...(credentials === undefined ? {} : { credentials }),
    });
  }
}
