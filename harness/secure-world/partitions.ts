import type { Core } from "./core.ts";
import { Partition } from "./partition.ts";

/**
 * The partitions of a virtualized build, newest first (SMC-8.2): memory for them is what limits their
 * number. A build without virtualization has one, which every caller gets.
 */
export class Partitions {
  readonly #core: Core;
  readonly #newestFirst: Partition[] = [];
  readonly #only: Partition | undefined;
  #freeRam: number;

  constructor(core: Core) {
    this.#core = core;
    const { build } = core;
    this.#freeRam = build.taRam;
    if (!build.virtualization) this.#only = new Partition(core, 0, build.taRam);
  }

  get all(): readonly Partition[] {
    return this.#only === undefined ? this.#newestFirst : [this.#only];
  }

  /** The partition that a7 selects: only its low 16 bits count (SMC-8.6). */
  select(a7: number): Partition | undefined {
    if (this.#only !== undefined) return this.#only;
    const id = a7 & 0xffff;
    return this.#newestFirst.find((one) => one.clientId === id);
  }

  /** False for id 0 (since 4.5.0) and when there is no memory. Ids may repeat. */
  create(clientId: number): boolean {
    const { build } = this.#core;
    const { major, minor } = build.version;
    if (clientId === 0 && (major > 4 || (major === 4 && minor >= 5))) return false;
    const share = this.#share();
    if (share > this.#freeRam) return false;
    this.#freeRam -= share;
    const taRam = Math.max(0, share - build.partitionRam);
    this.#newestFirst.unshift(new Partition(this.#core, clientId, taRam));
    return true;
  }

  /** The newest partition of that id ends; whatever was suspended in it vanishes (SMC-8.5). */
  destroy(clientId: number): void {
    const index = this.#newestFirst.findIndex((one) => one.clientId === clientId);
    const gone = this.#newestFirst[index];
    if (gone === undefined) return;
    if (this.#core.build.asyncNotif) gone.notifications.shutDown();
    this.#newestFirst.splice(index, 1);
    gone.shutDown = true;
    this.#freeRam += this.#share();
  }

  #share(): number {
    const { build } = this.#core;
    return Math.floor(build.taRam / build.guestCount / 4096) * 4096;
  }
}
