import type { Core } from "../core.ts";
import type { BackEnd } from "./back-end.ts";
import { ObjectTable } from "./object-table.ts";
import { ReeFs } from "./ree-fs.ts";
import { RootAnchor } from "./root-anchor.ts";
import { RpmbFs } from "./rpmb-fs.ts";
import { StorageCore } from "./storage-core.ts";
import { TaStore } from "./ta-store.ts";

/** Storage ids of the GP Internal API, and OP-TEE's own for a definite back end. */
export const TEE_STORAGE = {
  PRIVATE: 0x0000_0001,
  PRIVATE_REE: 0x8000_0000,
  PRIVATE_RPMB: 0x8000_0100,
} as const;

/** Secure storage of one partition. */
export class SecureStorage {
  readonly core: StorageCore;
  readonly objects = new ObjectTable();
  /** What is known of TAs: those installed in secure storage, and the versions seen of others. */
  readonly tas: TaStore;
  /** The storage in the normal world's files, where it is built. */
  readonly ree: ReeFs | undefined;
  /** The storage in the RPMB partition, where it is built. */
  readonly rpmb: RpmbFs | undefined;

  constructor(core: Core, seed: number) {
    this.core = new StorageCore(core, seed);
    const { reeFs, rpmbFs } = core.build;
    this.rpmb = rpmbFs ? new RpmbFs(this.core) : undefined;
    const anchor = this.rpmb === undefined ? undefined : new RootAnchor(this.rpmb);
    this.ree = reeFs ? new ReeFs(this.core, anchor) : undefined;
    this.tas = new TaStore(this.core, this.ree, this.backEnd(TEE_STORAGE.PRIVATE));
  }

  /** What serves a storage id: PRIVATE is the normal world's files if built, else the RPMB. */
  backEnd(id: number): BackEnd | undefined {
    switch (id) {
      case TEE_STORAGE.PRIVATE:
        return this.ree ?? this.rpmb;
      case TEE_STORAGE.PRIVATE_REE:
        return this.ree;
      case TEE_STORAGE.PRIVATE_RPMB:
        return this.rpmb;
      default:
        return undefined;
    }
  }
}
