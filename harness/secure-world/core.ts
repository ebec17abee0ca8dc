import type { KeyObject } from "node:crypto";
import { TargetCrashError } from "../base/index.ts";
import { dataViewOf, InterruptLine, PageMemo, type PhysicalMemory } from "../machine/index.ts";
import { zeroHuk } from "../rpmb/index.ts";
import { type Features, featuresOf, type OpteeBuild } from "./build.ts";
import { PrivateMemory } from "./memory-object.ts";
import { ASYNC_VALUE_MAX, type NotificationDriver } from "./notifications.ts";
import type { TrustedApplication } from "./tas/ta.ts";

export interface CoreOptions {
  readonly build: OpteeBuild;
  /** Non-secure memory as the secure world sees it. */
  readonly memory: PhysicalMemory;
  /** Virtual milliseconds since power-on. */
  readonly nowMs: () => number;
  /** Pseudo-TAs, which are part of the core. */
  readonly pseudoTas: readonly TrustedApplication[];
  /** What the code in TA images does, by UUID; the images themselves come from the normal world. */
  readonly userTas: readonly TrustedApplication[];
  /** Whether a normal-world interrupt is pending now, asked wherever one could be taken. */
  readonly interruptPending?: () => boolean;
  /** Secure drivers that notify the normal world. */
  readonly drivers?: readonly NotificationDriver[];
  /** The hardware unique key; without one the all-zero key of builds that override nothing. */
  readonly huk?: KeyObject;
  /** plat_rpmb_key_is_ready, asked before a key is programmed; without it always (RPMB-3.2). */
  readonly rpmbKeyReady?: () => boolean;
  /** Seed of the core's random number generator. */
  readonly seed?: number;
  /** Where the secure console's lines go. */
  readonly console?: (line: string) => void;
}

/** What all partitions of one OP-TEE share. */
export class Core {
  /** Set by a panic: nothing that would still be cleaned up is seen any more. */
  crash: TargetCrashError | undefined;
  readonly build: OpteeBuild;
  readonly features: Features;
  readonly memory: PhysicalMemory;
  readonly nowMs: () => number;
  readonly interruptPending: (() => boolean) | undefined;
  readonly drivers: readonly NotificationDriver[];
  /** The normal world's interrupt of asynchronous notifications. */
  readonly notifications = new InterruptLine("OP-TEE asynchronous notification");
  /** First value of synchronous notifications (SMC-7.1). */
  readonly syncNotificationBase: number;
  readonly pseudoTas: ReadonlyMap<string, TrustedApplication>;
  readonly userTas: ReadonlyMap<string, TrustedApplication>;
  readonly huk: KeyObject;
  readonly rpmbKeyReady: () => boolean;
  readonly seed: number;
  /** Pages that lists of others are read from. */
  readonly lists = new PageMemo(dataViewOf);
  readonly print: (line: string) => void;
  /** The region of protected memory that is so from the start, where the build has one. */
  readonly protectedRegion: { readonly base: number; readonly memory: PrivateMemory } | undefined;

  /** Ends the core where the real one would panic. */
  panic(message: string, about: { readonly expected: string; readonly seen: string }): never {
    this.crash = new TargetCrashError(`OP-TEE panicked: ${message}`, about);
    throw this.crash;
  }

  constructor(options: CoreOptions) {
    this.build = options.build;
    this.features = featuresOf(options.build);
    this.memory = options.memory;
    this.nowMs = options.nowMs;
    this.interruptPending = options.interruptPending;
    this.syncNotificationBase = this.features.asyncNotif ? ASYNC_VALUE_MAX + 1 : 0;
    this.drivers = options.drivers ?? [];
    this.pseudoTas = new Map(options.pseudoTas.map((ta) => [ta.uuid, ta]));
    this.userTas = new Map(options.userTas.map((ta) => [ta.uuid, ta]));
    const { protectedMemory } = this.features;
    const region = typeof protectedMemory === "object" ? protectedMemory.region : undefined;
    this.protectedRegion =
      region === undefined
        ? undefined
        : { base: region.base, memory: new PrivateMemory(new Uint8Array(region.size)) };
    this.huk = options.huk ?? zeroHuk();
    this.rpmbKeyReady = options.rpmbKeyReady ?? ((): boolean => true);
    this.seed = options.seed ?? 0;
    this.print = options.console ?? ((): void => undefined);
  }
}
