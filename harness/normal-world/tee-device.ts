import type { Task } from "../machine/index.ts";
import { TEE_GEN_CAP } from "../tee-uapi/index.ts";
import type { OpteeDriver } from "./driver.ts";
import type { TeeShm } from "./shm.ts";
import { TeeContext } from "./tee-context.ts";

/** A character device of the TEE subsystem: `/dev/tee0` for clients, `/dev/teepriv0` for the supplicant. */
export class TeeDevice {
  readonly driver: OpteeDriver;
  readonly privileged: boolean;
  readonly #shms = new Map<number, TeeShm>();
  readonly #ids = new Set<number>();
  #owner: TeeContext | undefined;
  #enumerated = false;

  constructor(driver: OpteeDriver, privileged: boolean) {
    this.driver = driver;
    this.privileged = privileged;
    if (privileged) driver.supplicantShm = (id) => this.#shms.get(id);
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
    return [...this.#shms.keys()];
  }

  /** A new context; undefined when the privileged device has one already (TEE-4.1). */
  *open(): Task<TeeContext | undefined> {
    if (!this.privileged) return new TeeContext(this);
    if (this.#owner !== undefined) return undefined;
    const context = new TeeContext(this);
    this.#owner = context;
    if (!this.#enumerated) {
      this.#enumerated = true;
      yield* this.driver.enumerateDevices(1);
    }
    return context;
  }

  /** Drops one reference; with the last one every session of the context is closed (TEE-3.1). */
  *putContext(context: TeeContext): Task {
    context.references -= 1;
    if (context.references > 0) return;
    for (const session of Array.from(context.sessions)) {
      context.sessions.delete(session);
      yield* this.driver.closeSession(session);
    }
    if (this.#owner === context) {
      this.#owner = undefined;
      this.driver.supplicant.abort();
    }
  }

  /** Takes the lowest free id from 1 (TEE-3.3.1); `addShm` or `freeShmId` follows. */
  takeShmId(): number {
    let id = 1;
    while (this.#ids.has(id)) id += 1;
    this.#ids.add(id);
    return id;
  }

  freeShmId(id: number): void {
    this.#ids.delete(id);
    this.#shms.delete(id);
  }

  addShm(shm: TeeShm): void {
    this.#shms.set(shm.id, shm);
    if (shm.context !== undefined) shm.context.references += 1;
  }

  /** An object by id, usable only in the context that made it. */
  findShm(context: TeeContext, id: number): TeeShm | undefined {
    const shm = this.#shms.get(id);
    return shm?.context === context ? shm : undefined;
  }
}
