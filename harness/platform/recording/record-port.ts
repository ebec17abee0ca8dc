import type {
  Conduit,
  Ipa,
  Pa,
  PhysicalMemory,
  PlatformPort,
  Registers,
} from "../../machine/index.ts";
import { OPTEE_SMC } from "../../optee-abi/index.ts";
import type { NormalWorld } from "../scenario-platform.ts";
import { Skipped } from "../target.ts";
import type { Recorder } from "./recorder.ts";
import { Tap, type Underway } from "./tap.ts";

/** Client ids that are followed; OP-TEE's have 16 bits. */
const MAX_CLIENTS = 1024;

/** Where SMCs are recorded: at one guest's conduit, or at the port, where each a7 is a normal world. */
class Watch {
  readonly #recorder: Recorder;
  readonly #where: "conduit" | "port";
  readonly #guest: number | undefined;
  readonly #tapOf: (registers: Registers) => Tap;

  constructor(
    recorder: Recorder,
    where: "conduit" | "port",
    guest: number | undefined,
    tapOf: (registers: Registers) => Tap,
  ) {
    this.#recorder = recorder;
    this.#where = where;
    this.#guest = guest;
    this.#tapOf = tapOf;
  }

  enter(registers: Registers): (back: Registers) => void {
    const recorder = this.#recorder;
    recorder.poll();
    const tap = this.#tapOf(registers);
    const { message, underway } = recorder.unobserved(() => tap.enter(registers));
    recorder.smc(this.#where, "enter", this.#guest, registers, message);
    return (back) => this.#leave(tap, underway, back);
  }

  #leave(tap: Tap, underway: Underway, registers: Registers): void {
    const recorder = this.#recorder;
    recorder.poll();
    const message = recorder.unobserved(() => tap.leave(underway, registers));
    recorder.smc(this.#where, "leave", this.#guest, registers, message);
  }
}

/** `conduit` with every SMC recorded as that of guest number `guest`. */
export function recordConduit(conduit: Conduit, guest: number, recorder: Recorder): Conduit {
  const tap = new Tap(recorder, (at) => conduit.memory.page(at as Ipa));
  const watch = new Watch(recorder, "conduit", guest, () => tap);
  return {
    ...conduit,
    smc: (registers, vcpu) => {
      const leave = watch.enter(registers);
      conduit.smc(registers, vcpu);
      leave(registers);
    },
  };
}

/** Records the SMCs at a port whose memory is `memory`. */
function watchPort(memory: PhysicalMemory, recorder: Recorder): Watch {
  const taps = new Map<number, Tap>();
  return new Watch(recorder, "port", undefined, (registers) => {
    // The whole register: which of its bits are looked at is the secure world's affair.
    const client = registers.get(7);
    if (registers.get(0) === OPTEE_SMC.VM_DESTROYED) taps.delete(registers.get(1));
    let tap = taps.get(client);
    if (tap === undefined) {
      if (taps.size >= MAX_CLIENTS) taps.clear();
      tap = new Tap(recorder, (at) => memory.page(at as Pa));
      taps.set(client, tap);
    }
    return tap;
  });
}

/** What a platform's `onPort` calls before and after each SMC at its port, whose memory is `memory`. */
export function portObserver(
  memory: PhysicalMemory,
  recorder: Recorder,
): (phase: "enter" | "leave", registers: Registers) => void {
  const watch = watchPort(memory, recorder);
  const leaves: ((registers: Registers) => void)[] = [];
  return (phase, registers) => {
    if (phase === "enter") leaves.push(watch.enter(registers));
    else leaves.pop()?.(registers);
  };
}

/** `port` with every SMC recorded. */
export function recordPort(port: PlatformPort, recorder: Recorder): PlatformPort {
  const watch = watchPort(port.memory, recorder);
  return {
    ...port,
    smc: (registers) => {
      const leave = watch.enter(registers);
      port.smc(registers);
      leave(registers);
    },
  };
}

/** Guest number `guest` as `add` makes it, with its life and its SMCs recorded. */
export function recordGuest(
  add: () => NormalWorld,
  guest: number,
  recorder: Recorder,
): NormalWorld {
  let world: NormalWorld;
  try {
    world = add();
  } catch (error) {
    if (error instanceof Skipped) recorder.guest(guest, "refused");
    throw error;
  }
  recorder.guest(guest, "created");
  const { conduit, destroy } = world;
  return {
    ...world,
    conduit: recordConduit(conduit, guest, recorder),
    destroy:
      destroy === undefined
        ? undefined
        : () => {
            destroy();
            recorder.guest(guest, "destroyed");
          },
  };
}
