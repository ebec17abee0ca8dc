import { MAPPING, PAGE_SIZE, type Ipa, Registers } from "../../machine/index.ts";
import { MSG_CMD, OPTEE_SMC } from "../../optee-abi/index.ts";
import { answer, fits, HONEST } from "./answers.ts";
import { pageNumber, putMessage, putOpen, split } from "./build.ts";
import { type Guest, placeOf } from "./guest.ts";
import { KNOWN } from "./layout.ts";
import {
  type Program,
  RAM_PAGES,
  type Race,
  type RegisterWord,
  type SimpleStep,
  type Step,
} from "./program.ts";
import type { ProgramMachine } from "./program-machine.ts";

const NOTHING: readonly never[] = [];
/** A session that no program opens. */
const NO_SESSION = 99;

/** Carries out the steps of a program on a machine; everything is checked after each step. */
export class Executor {
  readonly #machine: ProgramMachine;
  #lie: Step["with"]["lie"];

  constructor(machine: ProgramMachine) {
    this.#machine = machine;
    machine.onRace = (race, frame, by) => this.#race(race, frame, by);
  }

  /**
   * Runs a program to its end, or to the first violation that `goOn` does not let pass. The VMs are
   * destroyed at the end.
   */
  run(program: Program, goOn: () => boolean, beforeStep?: (index: number) => void): void {
    const machine = this.#machine;
    for (const [index, step] of program.steps.entries()) {
      machine.step = index;
      beforeStep?.(index);
      this.#step(step);
      if (!goOn()) return;
    }
    machine.step = program.steps.length;
    machine.beginStep({});
    for (const guest of machine.guests) machine.destroy(guest.slot);
    machine.endStep();
    machine.end();
  }

  #step({ step, with: around }: Step): void {
    const machine = this.#machine;
    machine.beginStep(around);
    this.#lie = around.lie;
    this.#simple(step);
    machine.endStep();
  }

  #simple(step: SimpleStep): void {
    const machine = this.#machine;
    if (step.do === "create") {
      machine.create(step.vm, step.refuse);
      return;
    }
    const guest = machine.guest(step.vm);
    if (guest === undefined) return;
    switch (step.do) {
      case "open":
        this.#open(guest, step);
        return;
      case "invoke":
      case "close":
      case "cancel":
      case "register":
      case "unregister":
        this.#message(guest, step);
        return;
      case "message": {
        const page = pageNumber(step.at, 0);
        const { cmd } = step.message;
        const closes = cmd === MSG_CMD.CLOSE_SESSION;
        const spared = closes && machine.mayClose?.(guest, step.message.session) === false;
        const session = spared ? NO_SESSION : step.message.session;
        const { func, params } =
          cmd === MSG_CMD.INVOKE_COMMAND
            ? machine.tas.invocation(
                guest.taOf.get(session),
                step.message.func,
                step.message.params,
              )
            : step.message;
        putMessage(guest, page, { ...step.message, func, session }, params);
        const { high, low } = split(placeOf(step.at));
        const words = [step.fid ?? OPTEE_SMC.CALL_WITH_ARG, high, low];
        this.#serve(guest, step.serve, () => guest.smc(words));
        return;
      }
      case "answer": {
        const rpc = guest.pending[step.pick % Math.max(1, guest.pending.length)];
        if (rpc !== undefined) this.#serve(guest, step.serve, () => answer(guest, rpc, step));
        return;
      }
      case "smc":
        this.#smc(guest, step);
        return;
      case "write":
        guest.write(
          placeOf(step.at) + step.offset * 8,
          new Uint8Array(new BigUint64Array(step.words.map(BigInt)).buffer),
        );
        return;
      case "destroy":
        machine.destroy(step.vm);
        return;
      default:
        this.#hypervisor(guest, step);
    }
  }

  #open(guest: Guest, step: Extract<SimpleStep, { do: "open" }>): void {
    const page = guest.scratch();
    putOpen(guest, page, this.#machine.tas.uuidOf(step.ta), step.login, step.params);
    this.#serve(guest, step.serve, () => guest.call(page));
  }

  /** The messages that a driver sends. */
  #message(
    guest: Guest,
    step: Extract<SimpleStep, { do: "invoke" | "close" | "cancel" | "register" | "unregister" }>,
  ): void {
    const page = guest.scratch();
    const head = { func: 0, session: 0, ret: 0xffff_0000 } as const;
    switch (step.do) {
      case "register":
        putMessage(guest, page, { ...head, cmd: MSG_CMD.REGISTER_SHM }, [step.buffer]);
        break;
      case "unregister": {
        const named = {
          as: "rmem",
          attr: 5,
          offset: 0,
          size: "empty",
          cookie: step.cookie,
        } as const;
        putMessage(guest, page, { ...head, cmd: MSG_CMD.UNREGISTER_SHM }, [named]);
        break;
      }
      default: {
        const session =
          guest.sessions[step.session % Math.max(1, guest.sessions.length)] ?? NO_SESSION;
        const { func, params } =
          step.do === "invoke"
            ? this.#machine.tas.invocation(guest.taOf.get(session), step.func, step.params)
            : { func: 0, params: NOTHING };
        putMessage(guest, page, { ...head, cmd: COMMANDS[step.do], func, session }, params);
      }
    }
    this.#serve(guest, step.serve, () => guest.call(page));
  }

  /** Makes a call and answers up to `turns` of the RPCs that it comes back with. */
  #serve(guest: Guest, turns: number, call: () => void): void {
    const before = new Set(guest.pending);
    call();
    for (let turn = 0; turn < turns && guest.vm.alive; turn += 1) {
      const rpc = guest.pending.findLast((one) => !before.has(one));
      if (rpc === undefined) return;
      const lie = this.#lie;
      const lies = lie !== undefined && turn >= lie.turn && fits(guest, rpc, lie.lie);
      if (lies) this.#lie = undefined;
      answer(guest, rpc, lies ? lie : HONEST);
    }
  }

  /** Registers as they come: any function, any owner, rubbish in upper halves. */
  #smc(guest: Guest, step: Extract<SimpleStep, { do: "smc" }>): void {
    const registers = new Registers([step.fid]);
    if (step.convention64 === true) registers.set(0, (step.fid | 0x4000_0000) >>> 0);
    for (const [index, word] of step.words.entries()) {
      if (typeof word === "string" && word.startsWith("0x"))
        registers.set64(index + 1, BigInt(word));
      else registers.set(index + 1, this.#word(guest, word));
    }
    guest.trap({
      method: step.method ?? "smc",
      registers,
      ...(step.immediate === undefined ? {} : { immediate: step.immediate }),
      ...(step.aarch32 === undefined ? {} : { aarch32: step.aarch32 }),
    });
  }

  #word(guest: Guest, word: RegisterWord): number {
    if (typeof word === "number") return word;
    switch (word) {
      case "page":
        return placeOf(1) >>> 0;
      case "thread":
        return guest.pending.at(-1)?.thread ?? 0;
      case "argument":
        return guest.argumentCookie?.low ?? 0;
      case "cookie":
        return guest.lastCookie?.low ?? 0;
      case "foreign":
        return KNOWN.host.base;
      default:
        return 0xffff_fffc;
    }
  }

  /** What a hypervisor does to a VM's memory. */
  #hypervisor(
    guest: Guest,
    step: Extract<SimpleStep, { do: "balloon" | "protect" | "donate" }>,
  ): void {
    const machine = this.#machine;
    const { space } = guest.vm;
    const at = placeOf(step.at);
    if (at >= 2 ** 52) return;
    switch (step.do) {
      case "balloon":
        if (typeof step.at !== "number") return;
        machine.guarded(() => space.balloon(at as Ipa));
        if (step.refill) machine.guarded(() => space.refill(at as Ipa));
        break;
      case "protect":
        machine.guarded(() =>
          space.protect(at as Ipa, step.writable ? MAPPING.ramRw : MAPPING.ramRo),
        );
        break;
      default: {
        const to = machine.guest(step.to);
        if (to === undefined || !guest.vm.alive) return;
        machine.guarded(() => space.donate(at as Ipa, to.vm.space, placeOf(step.target) as Ipa));
      }
    }
  }

  /** Between two accesses: memory changes under who reads it, or something else happens. */
  #race({ does }: Race, frame: number, by: string): void {
    if (does.do === "take") {
      this.#take(frame, does.how);
      return;
    }
    if (does.do !== "poke") {
      // The secure world is in the middle of something; only the mediator can be entered again.
      if (by === "mediator") this.#simple(does);
      return;
    }
    const page = this.#machine.frameBytes(frame);
    if (page === undefined) return;
    const view = new DataView(page.buffer, page.byteOffset, PAGE_SIZE);
    const value = typeof does.value === "number" ? does.value : placeOf(does.value);
    const { high, low } = split(value);
    view.setUint32(does.offset * 4, low, true);
    if (typeof does.value !== "number" && does.offset < 1023) {
      view.setUint32(does.offset * 4 + 4, high, true);
    }
  }

  /** The page of the VM whose call is under way that is on `frame`. */
  #take(frame: number, how: "balloon" | "protect"): void {
    const guest = this.#machine.caller;
    if (guest === undefined) return;
    const { space } = guest.vm;
    for (let page = 0; page < RAM_PAGES; page += 1) {
      const at = placeOf(page) as Ipa;
      if (space.stage2.frame(at / PAGE_SIZE) !== frame) continue;
      this.#machine.guarded(() =>
        how === "balloon" ? space.balloon(at) : space.protect(at, MAPPING.ramRo),
      );
    }
  }
}

const COMMANDS = {
  invoke: MSG_CMD.INVOKE_COMMAND,
  close: MSG_CMD.CLOSE_SESSION,
  cancel: MSG_CMD.CANCEL,
} as const;
