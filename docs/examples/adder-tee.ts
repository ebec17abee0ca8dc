/**
 * A back end for another TEE, of SMCCC owner 49, registered beside OP-TEE's. This TEE has one call:
 * the sum of the first `a3` bytes of the page at `a1:a2`. The back end does what any must do: ask
 * whether its TEE is there, translate and check the guest's address, pin the page while the TEE uses
 * it, and write the guest's registers only once it knows what the guest may see.
 *
 *     lockstep run --target dist/docs/examples/adder-tee.js
 */
import { frameToPa, MAPPING, PAGE_SIZE, Registers } from "tee-lockstep/machine";
import {
  createMediator,
  type GuestHost,
  opteeBackEnd,
  type ProbedTee,
  type TeeBackEnd,
  type TeeGuest,
} from "tee-lockstep/mediator";
import type { OwnTarget } from "tee-lockstep/platform";

export const ADDER = { PROBE: 0xb100_0000, SUM: 0xb100_0001, MAGIC: 0x0add_e500 } as const;
const BAD_ADDRESS = 4;

export const adderBackEnd: TeeBackEnd = {
  name: "adder",
  owners: [49, 49],
  guestNode: { path: "/firmware/adder", compatible: "example,adder", method: "smc" },

  probe({ port }): ProbedTee | undefined {
    const answer = new Registers([ADDER.PROBE]);
    port.smc(answer);
    if (answer.get(0) !== ADDER.MAGIC) return undefined;
    return {
      // It keeps nothing of its clients, so nobody has to be announced.
      announce: () => true,
      createGuest: (guest) => ({ ok: true, value: guestOf(guest, (words) => port.smc(words)) }),
    };
  },
};

function guestOf({ clientId, space }: GuestHost, smc: (registers: Registers) => void): TeeGuest {
  const usage = { calls: 0, suspended: 0, buffers: 0, pages: 0, rpcArguments: 0 };
  return {
    handle(registers) {
      if (registers.get(0) !== ADDER.SUM) return false;
      const page = Math.floor(registers.pair(1) / PAGE_SIZE);
      const frame = space.stage2.kind(page) === MAPPING.ramRw ? space.stage2.frame(page) : -1;
      if (frame < 0 || registers.get(3) > PAGE_SIZE || !space.frames.pin(frame)) {
        registers.set(0, BAD_ADDRESS);
        return true;
      }
      const call = new Registers([ADDER.SUM, 0, 0, registers.get(3), 0, 0, 0, clientId]);
      call.setPair(1, frameToPa(frame));
      smc(call);
      space.frames.unpin(frame);
      registers.set(0, 0);
      registers.copyRegister(1, call);
      return true;
    },
    destroy: () => undefined,
    usage: () => usage,
  };
}

/** Lockstep's own mediator with one back end more: where OP-TEE answers, all is as ever. */
const target: OwnTarget = {
  name: "with-adder",
  conduits: ["vm"],
  rules: ["strict", "xen", "kvm"],
  createMediator: (port, { heap, guests, rules, seed, nowMs }) =>
    createMediator(port, {
      heap,
      guests: [guests],
      rules,
      scatter: seed,
      now: nowMs,
      backEnds: [opteeBackEnd, adderBackEnd],
    }),
};
export default target;
