import { type SpawnedTask, type Task, WaitQueue } from "../machine/index.ts";
import { TEE_GEN_CAP } from "../tee-uapi/index.ts";
import { DEVICE_PTA_CMD, enumerateDevices } from "./device-enumeration.ts";
import type { OpteeDriver } from "./driver.ts";
import { NumberTable } from "./number-table.ts";
import type { TeeShm } from "./shm.ts";
import { releaseCaller } from "./supplicant-queue.ts";
import { TeeContext } from "./tee-context.ts";

/** A character device of the TEE subsystem: `/dev/tee0` for clients, `/dev/teepriv0` for the supplicant. */
export class TeeDevice {
  readonly driver: OpteeDriver;
  readonly privileged: boolean;
  /** Woken whenever a context has been released. */
  readonly released = new WaitQueue("release of a TEE context");
  /** By id; a taken id without an object has `null`. */
  readonly #shms = new NumberTable<TeeShm | null>(1);
  #scan: SpawnedTask | undefined;
  #contexts = 0;

  constructor(driver: OpteeDriver, privileged: boolean) {
    this.driver = driver;
    this.privileged = privileged;
    if (privileged) {
      driver.supplicantShm = (id) => {
        const { context } = driver.supplicant;
        return context === undefined ? undefined : this.findShm(context, id);
      };
    }
  }

  get genCaps(): number {
    let caps: number = TEE_GEN_CAP.GP;
    if (this.privileged) caps |= TEE_GEN_CAP.PRIVILEGED;
    if (this.driver.dynamicShm) caps |= TEE_GEN_CAP.REG_MEM;
    if (this.driver.memrefNull) caps |= TEE_GEN_CAP.MEMREF_NULL;
    return caps;
  }

  /** Shared-memory objects that exist, by id. */
  get shmIds(): readonly number[] {
    return this.#shms.entries().flatMap(([id, shm]) => (shm === null ? [] : [id]));
  }

  /** Contexts that have not been released. */
  get contexts(): number {
    return this.#contexts;
  }

  /** The enumeration that the supplicant's first open started, if it did. */
  get scan(): SpawnedTask | undefined {
    return this.#scan;
  }

  /** A new context; undefined when the privileged device has one already (TEE-4.1). */
  open(): TeeContext | undefined {
    const { supplicant, kernel } = this.driver;
    if (this.privileged && supplicant.context !== undefined) return undefined;
    const context = new TeeContext(this);
    this.#contexts += 1;
    if (!this.privileged) return context;
    supplicant.context = context;
    // In a task of its own: the enumeration may need the supplicant that is opening.
    this.#scan ??= kernel.scheduler.spawn(
      `${kernel.name} optee bus scan`,
      enumerateDevices(this.driver, DEVICE_PTA_CMD.GET_DEVICES_SUPP),
    );
    return context;
  }

  /** Drops one reference; with the last one every session of the context is closed (TEE-3.1). */
  *putContext(context: TeeContext): Task {
    context.references -= 1;
    if (context.references > 0) return;
    for (const session of Array.from(context.sessions)) {
      context.sessions.delete(session);
      yield* this.driver.closeSession(session, releaseCaller());
    }
    this.#contexts -= 1;
    this.released.wakeAll();
    if (this.driver.supplicant.context === context) this.driver.supplicant.abort();
  }

  /** Takes the lowest free id from 1 (TEE-3.3.1); `addShm` or `freeShmId` follows. */
  takeShmId(): number {
    return this.#shms.add(null);
  }

  freeShmId(id: number): void {
    this.#shms.delete(id);
  }

  addShm(shm: TeeShm): void {
    this.#shms.set(shm.id, shm);
    if (shm.context !== undefined) shm.context.references += 1;
  }

  /** An object by id, usable only in the context that made it. */
  findShm(context: TeeContext, id: number): TeeShm | undefined {
    const shm = this.#shms.get(id) ?? undefined;
    return shm?.context === context ? shm : undefined;
  }
}
