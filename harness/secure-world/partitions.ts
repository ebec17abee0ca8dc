import type { Core } from "./core.ts";
import { Partition } from "./partition.ts";
import { SecurePool } from "./secure-pool.ts";

const PAGE = 4096;

/**
 * The partitions of a virtualized build (SMC-8.2). Each is memory: the core's data, a share of the
 * RAM for TAs, translation tables; that is what limits their number. A build without virtualization
 * has one partition, which every caller gets.
 */
export class Partitions {
  readonly #core: Core;
  readonly #pool: SecurePool;
  /** By client id, the newest last. */
  readonly #guests = new Map<number, Partition[]>();
  readonly #only: Partition | undefined;

  constructor(core: Core) {
    this.#core = core;
    const { build } = core;
    this.#pool = new SecurePool(build.taRam);
    if (!build.virtualization) this.#only = new Partition(core, 0, build.taRam, []);
  }

  /** Partitions that can be selected. */
  get all(): readonly Partition[] {
    return this.#only === undefined ? [...this.#guests.values()].flat() : [this.#only];
  }

  /** Secure RAM that no partition has, in bytes. */
  get freeRam(): number {
    return this.#pool.free;
  }

  /** The newest partition that a7 selects: only its low 16 bits count (SMC-8.6). */
  select(a7: number): Partition | undefined {
    return this.#only ?? this.#guests.get(a7 & 0xffff)?.at(-1);
  }

  /** False for id 0 (since 4.5.0) and when there is no memory. Ids may repeat. */
  create(clientId: number): boolean {
    const { features, build, print } = this.#core;
    if (clientId === 0 && features.refusesClientZero) return false;
    const { partitionRam, partitionTables } = build;
    const own = partitionRam + partitionTables;
    const share = Math.floor((build.taRam / build.guestCount - own) / PAGE) * PAGE;
    const memory = this.#pool.takeAll([partitionRam, share, partitionTables]);
    if (memory === undefined) return false;
    const partition = new Partition(this.#core, clientId, share, memory);
    const sameId = this.#guests.get(clientId);
    if (sameId === undefined) this.#guests.set(clientId, [partition]);
    else sameId.push(partition);
    print(`I/TC: Added guest ${clientId}`);
    return true;
  }

  /**
   * The newest partition of that id ends: it can no longer be selected, and its memory is free when
   * the last core has left it. Whatever was suspended in it vanishes (SMC-8.3, SMC-8.5).
   */
  destroy(clientId: number): void {
    const { features, print } = this.#core;
    print(`I/TC: Removing guest ${clientId}`);
    const sameId = this.#guests.get(clientId);
    const partition = sameId?.at(-1);
    if (sameId === undefined || partition === undefined || partition.ending) {
      print(`E/TC: Client with id ${clientId} is not found`);
      return;
    }
    partition.ending = true;
    if (features.asyncNotif) partition.notifications.shutDown();
    sameId.pop();
    if (sameId.length === 0) this.#guests.delete(clientId);
    this.leave(partition);
  }

  /** A core enters `partition`, which stays until it leaves. */
  enter(partition: Partition): void {
    partition.references += 1;
  }

  leave(partition: Partition): void {
    partition.references -= 1;
    if (partition.references > 0) return;
    for (const extent of partition.memory) this.#pool.give(extent);
  }
}
