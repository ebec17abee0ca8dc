import type { Task } from "../machine/index.ts";
import type { Credentials } from "../tee-uapi/index.ts";
import { OpteeDriver } from "./driver.ts";
import { Kernel, type KernelOptions } from "./kernel.ts";
import { Process } from "./process.ts";
import { FileSystem } from "./filesystem.ts";
import { SimulatedNetwork } from "./network.ts";
import { Supplicant, type SupplicantOptions } from "./supplicant.ts";
import { TA_DIRECTORY } from "./supplicant-ta.ts";
import { TeeDevice } from "./tee-device.ts";

export interface LinuxOptions extends KernelOptions {
  /** TAs in the file system where a Debian image has them, by UUID. */
  readonly tas: ReadonlyMap<string, Uint8Array>;
  /** How tee-supplicant is started. */
  readonly supplicant?: SupplicantOptions;
  /** The file system, which outlives the machine's normal world; a fresh one when left out. */
  readonly disk?: FileSystem;
}

/** One Linux with the OP-TEE driver and tee-supplicant, on a conduit of its own. */
export class Linux {
  readonly kernel: Kernel;
  readonly disk: FileSystem;
  readonly network: SimulatedNetwork;
  readonly #supplicantOptions: SupplicantOptions;
  readonly #devices = new Map<string, TeeDevice>();
  #driver: OpteeDriver | undefined;
  #supplicant: Supplicant | undefined;
  #processes = 0;

  constructor(options: LinuxOptions) {
    this.kernel = new Kernel(options);
    this.disk = options.disk ?? new FileSystem();
    this.network = new SimulatedNetwork(options.scheduler);
    this.#supplicantOptions = options.supplicant ?? {};
    this.disk.mkdir("/tmp");
    for (const [uuid, file] of options.tas) this.disk.store(`${TA_DIRECTORY}/${uuid}.ta`, file);
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

  /**
   * Starts tee-supplicant, by default as it was started before; a negative errno when it cannot have
   * the device.
   */
  *startSupplicant(options = this.#supplicantOptions): Task<number> {
    const process = this.process("tee-supplicant");
    const supplicant = new Supplicant(process, this, options);
    const started = yield* supplicant.start();
    if (started < 0) {
      yield* process.exit();
      return started;
    }
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
