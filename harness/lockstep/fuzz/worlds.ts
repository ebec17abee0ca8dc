import type { PhysicalMemory, Registers } from "../../machine/index.ts";
import { OWN_COOKIE_HIGH } from "../../mediator/index.ts";
import {
  DEBIAN_4_5_VIRTUALIZED,
  PSEUDO_TAS,
  type Partition,
  SecureWorld,
  type Thread,
} from "../../secure-world/index.ts";
import { SMC_RETURN } from "../../optee-abi/index.ts";
import type { MachineSpec } from "./program.ts";
import { FUZZ_TAS } from "./tas.ts";

/** What stands behind the port of a fuzz machine. */
export interface FuzzWorld {
  smc(registers: Registers): void;
  /** A step begins: what the scripted world does in it, where interrupts are pending. */
  begin(circumstances: {
    readonly script: readonly number[];
    readonly interrupts: readonly number[];
  }): void;
  /** The OP-TEE model behind it, undefined for the scripted world. */
  readonly model: SecureWorld | undefined;
}

const MIB = 1024 * 1024;

/** Our OP-TEE model, with as many partitions and threads as the program says. */
export class ModelWorld implements FuzzWorld {
  readonly model: SecureWorld;
  #pending: ReadonlySet<number> = NONE;
  #places = 0;
  #now = 0;

  constructor(
    spec: MachineSpec,
    memory: PhysicalMemory,
    reservedShm: { base: number; size: number },
  ) {
    this.model = new SecureWorld({
      build: {
        ...DEBIAN_4_5_VIRTUALIZED,
        // Earlier releases panic when a file's request fails: no mediator could keep a guest from that.
        version: { major: 4, minor: 10 },
        threads: spec.threads,
        guestCount: spec.guests,
        taRam: spec.guests * 4 * MIB,
        preallocRpcCache: spec.cache,
        reservedShm,
        heap: 16 * 1024,
      },
      memory,
      nowMs: () => this.#now,
      pseudoTas: PSEUDO_TAS,
      userTas: FUZZ_TAS,
      interruptPending: () => this.#pending.has(this.#places++),
    });
  }

  begin({ interrupts }: { readonly interrupts: readonly number[] }): void {
    this.#pending = interrupts.length === 0 ? NONE : new Set(interrupts);
    this.#places = 0;
  }

  smc(registers: Registers): void {
    this.#now += 1;
    this.model.smc(registers);
  }
}

const NONE: ReadonlySet<number> = new Set();

/** The frames of a VM's memory that its partition holds, each with what for. */
export function eachShared(partition: Partition, visit: (pa: number, what: string) => void): void {
  for (const object of partition.registered.objects()) {
    // FREE of it is under way: the mediator has let go of it, the secure world ends its use now.
    if (
      partition.threads.some(
        (thread) => isFreeing(thread) && thread.rpcArgument?.registered === object,
      )
    )
      continue;
    // Nobody can come to it any more: its call is over, and its cookie is the mediator's own.
    if (object.left === true && object.cookieHigh === OWN_COOKIE_HIGH) continue;
    for (const page of object.pages.pages) visit(page, "a shared-memory object");
  }
}

/** Where the RPC arguments are that the partition's threads keep. */
export function eachRpcArgument(partition: Partition, visit: (pa: number) => void): void {
  for (const thread of partition.threads) {
    const [page] = thread.rpcArgument?.pages.pages ?? [];
    if (page !== undefined && !isFreeing(thread)) visit(page);
  }
}

const isFreeing = ({ state, exitCode }: Thread): boolean =>
  state === "suspended" && exitCode === SMC_RETURN.RPC_FREE;
