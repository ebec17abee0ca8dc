import type { Registers } from "../../../machine/index.ts";
import {
  opteeBackEnd,
  type RuleSet,
  type TeeBackEnd,
  type TeeGuest,
} from "../../../mediator/index.ts";
import { MessageView, OPTEE_SMC, SMC_RETURN } from "../../../optee-abi/index.ts";
import type { Invariant } from "../invariants.ts";
import type { FuzzMachine, MachineOptions } from "../machine.ts";
import type { FuzzWorld } from "../worlds.ts";

/** A bug that is put in from outside, without a change of any source. */
export interface Plant {
  readonly name: string;
  readonly options: Pick<MachineOptions, "backEnds" | "wrap">;
  /** What it may break. */
  readonly breaks: readonly Invariant[];
}

/** The OP-TEE back end with some rules other than those of the rule set. */
export const withRules = (changed: Partial<RuleSet>): TeeBackEnd => ({
  ...opteeBackEnd,
  probe: (host) => opteeBackEnd.probe({ ...host, rules: { ...host.rules, ...changed } }),
});

/** The OP-TEE back end with every guest of it wrapped. */
const withGuests = (wrap: (guest: TeeGuest) => TeeGuest): TeeBackEnd => ({
  ...opteeBackEnd,
  probe: (host) => {
    const tee = opteeBackEnd.probe(host);
    if (tee === undefined) return undefined;
    return {
      announce: (clientId) => tee.announce(clientId),
      createGuest: (guest) => {
        const made = tee.createGuest(guest);
        return made.ok ? { ok: true, value: wrap(made.value) } : made;
      },
    };
  },
});

type Handle = (registers: Registers, real: (registers: Registers) => boolean) => boolean;

const handling = (handle: Handle): TeeBackEnd =>
  withGuests((guest) => ({
    handle: (registers) => handle(registers, (real) => guest.handle(real)),
    destroy: () => guest.destroy(),
    usage: () => guest.usage(),
  }));

type Smc = (registers: Registers, real: (registers: Registers) => void) => void;

/** Another way into the secure world. */
const entering =
  (make: () => Smc) =>
  (world: FuzzWorld): FuzzWorld => {
    const smc = make();
    return {
      model: world.model,
      begin: (circumstances) => world.begin(circumstances),
      smc: (registers) => smc(registers, (real) => world.smc(real)),
    };
  };

/** Bugs in the mediator and in the secure world that no rule set has. */
export const PLANTS: readonly Plant[] = [
  {
    name: "a VM's end gives nothing back",
    options: {
      backEnds: [
        withGuests((guest) => ({
          handle: (registers) => guest.handle(registers),
          destroy: () => {},
          usage: () => guest.usage(),
        })),
      ],
    },
    breaks: ["pins-have-owners", "clean-death", "nothing-left"],
  },
  {
    name: "the mediator throws on a function that no driver uses",
    options: {
      backEnds: [
        handling((registers, real) => {
          if (registers.get(0) === OPTEE_SMC.GET_PROTMEM_CONFIG)
            throw new RangeError("no such call");
          return real(registers);
        }),
      ],
    },
    breaks: ["never-throws"],
  },
  {
    name: "the mediator clears x6",
    options: {
      backEnds: [
        handling((registers, real) => {
          const done = real(registers);
          registers.set(6, 0);
          return done;
        }),
      ],
    },
    breaks: ["registers-preserved"],
  },
  {
    name: "the secure world does not hear of a VM's end",
    options: {
      wrap: entering(() => (registers, real) => {
        if (registers.get(0) === OPTEE_SMC.VM_DESTROYED && registers.get(1) !== 0) {
          registers.set(0, SMC_RETURN.OK);
        } else real(registers);
      }),
    },
    breaks: ["clean-death"],
  },
  {
    name: "the revision comes back with the address of the last message",
    options: {
      wrap: entering(() => {
        let last = 0;
        return (registers, real) => {
          const fid = registers.get(0);
          if (fid === OPTEE_SMC.CALL_WITH_ARG) last = registers.get(2);
          real(registers);
          if (fid === OPTEE_SMC.CALLS_REVISION) registers.set(1, last);
        };
      }),
    },
    breaks: ["no-address-shown"],
  },
  {
    name: "the secure world takes every resume for the VM that entered last",
    options: {
      wrap: entering(() => {
        let last = 0;
        return (registers, real) => {
          if (registers.get(0) === OPTEE_SMC.CALL_WITH_ARG) last = registers.get(7);
          if (registers.get(0) === OPTEE_SMC.RETURN_FROM_RPC && last !== 0) registers.set(7, last);
          real(registers);
        };
      }),
    },
    breaks: [
      "secure-reach",
      "no-stuck-call",
      "threads-rest",
      "shared-is-pinned",
      "rpc-argument-lives",
    ],
  },
];

/** A secure world that tells a VM's session the first word of another VM's list. */
export const leakOf = (machine: () => FuzzMachine): Plant => ({
  name: "a result holds a word of another VM's memory",
  options: {
    wrap: entering(() => {
      let seen: { client: number; word: number } | undefined;
      return (registers, real) => {
        const fid = registers.get(0);
        const client = registers.get(7);
        const at = registers.pair(1);
        const page =
          fid === OPTEE_SMC.CALL_WITH_ARG ? machine().frameBytes(Math.floor(at / 4096)) : undefined;
        real(registers);
        if (page === undefined || registers.get(0) !== SMC_RETURN.OK) return;
        const words = new Uint32Array(page.buffer, page.byteOffset, page.length / 4);
        // The tail of the page is what was there before the message.
        if (seen !== undefined && seen.client !== client) new MessageView(page).session = seen.word;
        else seen = { client, word: words.at(-1) ?? 0 };
      };
    }),
  },
  breaks: ["no-foreign-data"],
});
