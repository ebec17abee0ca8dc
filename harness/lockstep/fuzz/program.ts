import { ATTR_TYPE, MSG_CMD, OPTEE_SMC } from "../../optee-abi/index.ts";
import { type Of, type Shape, either, hex, list, nat, pick, rarely, record } from "./shape.ts";
import { TA_NAMES } from "./tas.ts";

/** VMs that a program plays with, by slot; a slot's VM is created when it is first used. */
export const SLOTS = 4;
/** Pages of RAM of each VM. The first half is for programs, the rest for the honest driver. */
export const RAM_PAGES = 48;
export const OWN_PAGES = 20;
/** The largest number of steps in a program from outside. */
export const MAX_STEPS = 4096;

/** Addresses that are no page of the VM's RAM. */
export const ODD_PLACES = [
  /** Intermediate physical address 0. */
  "null",
  /** Just below and just past the RAM. */
  "below",
  "beyond",
  /** Inside the RAM and not on a page. */
  "misaligned",
  /** Mapped, but a device, a page of somebody else's, a page that is read-only. */
  "mmio",
  "grant",
  "foreign",
  "rom",
  /** Physical addresses that a guest can guess: host RAM, reserved and secure memory. */
  "host",
  "reserved",
  "secure",
  /** The ends of 52 and of 64 bits. */
  "top",
  "past-top",
  "wrap",
] as const;

/** A slot; the first are used most, as the secure world may not have room for more VMs. */
const slot = pick(0, 1, 0, 1, 2, 0, 1, 3);

/** A page of the VM's RAM by number, or a place with a name. */
export const place = either([12, nat(OWN_PAGES - 1)], [2, pick(...ODD_PLACES)]);
/** Mostly a page that can be shared. */
const goodPlace = either([40, nat(OWN_PAGES - 1)], [1, pick(...ODD_PLACES)]);
export const ownPage = nat(OWN_PAGES - 1);

/** Cookies: small numbers, and names of those that matter. */
export const cookie = either(
  [8, nat(7)],
  // The last that this driver allocated, its RPC argument's, what another VM uses; the mediator's own.
  [4, pick("last", "argument", "other", "own", "zero", "top", "sign")],
);

/** Sizes in bytes; `fit` is what the pages of the list hold. */
const size = either(
  [6, pick("fit")],
  [3, nat(4 * 4096)],
  [1, pick("empty", "one-more", "2^32", "2^44", "2^44+4096", "wrap", "top")],
);

export const word = either(
  [6, nat(8)],
  [2, pick(32, 127, 128, 0xff, 0x1000, 0x8000_0000, 0xffff_0000, 0xffff_0005, 0xffff_ffff)],
  [1, nat(0xffff_ffff)],
);

/** What a page list is made of, beside honest entries. */
export const LIST_TWISTS = [
  "no",
  /** The link names the list itself. */
  "loop",
  /** Low bits are set in the entries. */
  "low-bits",
  /** The list lies in one of its own data pages. */
  "alias",
  /** The list is the page of the message. */
  "message",
  /** High bits are set in the entries. */
  "high-bits",
] as const;

export const value = record({
  as: pick("value"),
  attr: pick(ATTR_TYPE.VALUE_INPUT, ATTR_TYPE.VALUE_OUTPUT, ATTR_TYPE.VALUE_INOUT),
  a: word,
  b: word,
  c: word,
});
export const pages = record({
  as: pick("list"),
  attr: pick(0x20a, 0x20a, 0x209, 0x20b),
  pages: list(goodPlace, 1, 4),
  /** The entries this often over: lists that go on in a further list page. */
  times: rarely(24, pick(128, 130, 256, 512)),
  twist: rarely(8, pick(...LIST_TWISTS)),
  offset: rarely(4, nat(4095)),
  size,
  cookie,
});
export const registered = record({
  as: pick("rmem"),
  attr: pick(ATTR_TYPE.RMEM_INPUT, ATTR_TYPE.RMEM_OUTPUT, ATTR_TYPE.RMEM_INOUT),
  offset: either([4, pick(0)], [2, nat(8192)], [1, pick(0xffff_ffff)]),
  size,
  cookie,
});
const raw = record({
  as: pick("raw"),
  attr: either(
    [3, pick(0, 1, 4, 5, 8, 9, 0xa, 0xb, 0xc, 0x101, 0x109, 0x205, 0x20a, 0x30a, 0x7020a, 0xff)],
    [1, nat(0xffff_ffff)],
  ),
  high: rarely(8, nat(3)),
  at: place,
  size,
  cookie,
});
export const param = either([4, value], [5, pages], [3, registered], [2, raw]);

export const message = record({
  cmd: either([8, nat(MSG_CMD.UNREGISTER_SHM)], [2, nat(12)], [1, nat(0xffff_ffff)]),
  func: nat(40),
  session: nat(6),
  ret: pick(0xffff_0000, 0, 0xdead),
  /** num_params, where it is not the number of parameters. */
  count: rarely(10, pick(0, 1, 4, 126, 127, 128, 129, 0xffff_ffff)),
  params: list(param, 0, 5),
});

/** How an answer to an RPC lies. Each is one lie in an answer that is honest otherwise. */
export const LIES = [
  "no",
  /** Not what was asked for: a result that says so. */
  "fail",
  /** Another command, other attributes, another number of parameters. */
  "cmd",
  "contiguous",
  "no-attr",
  "more-params",
  "many-params",
  /** Another cookie in a1:a2 than that of the request, or in the answer. */
  "cookie",
  "ref",
  /** A size that does not fit, a list that names others' pages or loops. */
  "small",
  "huge",
  "outside",
  "loop",
  /** An RPC argument that is not on a page, not RAM, address 0, cookie 0. */
  "misaligned",
  "unmapped",
  "null",
  "no-cookie",
  /** A cookie that this driver has in use. */
  "duplicate",
  /** The answer is not written at all. */
  "silent",
  /** Registers with something in their upper halves. */
  "wide",
] as const;

export const answer = record({
  do: pick("answer"),
  vm: slot,
  pick: nat(3),
  lie: pick("no", "no", "no", "no", "no", "no", "no", "no", "no", "no", "no", ...LIES.slice(1)),
  /** What the lie says. */
  at: either([2, place], [1, pick("host", "reserved")]),
  cookie,
  /** Further RPCs that are answered honestly after that. */
  serve: either([5, nat(12)], [1, pick(40)]),
});

export const FIDS = Object.values(OPTEE_SMC);
export const registerWord = either(
  [4, nat(8)],
  [2, pick("page", "thread", "argument", "cookie", "pc", "foreign")],
  [2, hex()],
);

export const serve = either([1, pick(0, 1)], [3, nat(24)], [2, pick(40)]);

/** In what the steps of programs for emulated and for real machines differ. */
export interface StepChoices {
  readonly vm: Shape<number>;
  readonly ta: Shape<string>;
  /** Command numbers of TAs. */
  readonly func: Shape<number>;
  /** Where messages lie. */
  readonly messageAt: Shape<Place>;
  /** Whether the mediator has no memory for a new VM. */
  readonly refuse: Shape<boolean>;
  /** One message in so many goes by a function of its own choice. */
  readonly otherFunction: number;
  /** How often a step is of a kind; `bare`: sessions without parameters for one with some. */
  readonly often: Readonly<
    Record<"open" | "bare" | "invoke" | "end" | "register" | "answer", number>
  >;
}

/** The steps that programs are made of. */
export const stepsOf = ({ vm, ta, func, messageAt, refuse, otherFunction, often }: StepChoices) =>
  either(
    [
      often.open,
      record({
        do: pick("open"),
        vm,
        ta,
        login: pick(0, 0x8000_0000, 0, 0, 0, 0, 0, 1, 4, 6, 3, 0xf000_0000),
        params: either([often.bare, list(param, 0, 0)], [1, list(param, 1, 4)]),
        serve,
      }),
    ],
    [
      often.invoke,
      record({
        do: pick("invoke"),
        vm,
        session: nat(4),
        func,
        params: list(either([3, value], [5, pages], [3, registered]), 0, 4),
        serve,
      }),
    ],
    [often.end, record({ do: pick("close", "cancel"), vm, session: nat(4), serve })],
    [often.register, record({ do: pick("register"), vm, buffer: pages, serve: nat(4) })],
    [3, record({ do: pick("unregister"), vm, cookie, serve: nat(4) })],
    [
      6,
      record({
        do: pick("message"),
        vm,
        at: messageAt,
        fid: rarely(otherFunction, pick(OPTEE_SMC.CALL_WITH_RPC_ARG, OPTEE_SMC.CALL_WITH_REGD_ARG)),
        message,
        serve: nat(6),
      }),
    ],
    [often.answer, answer],
    [
      6,
      record({
        do: pick("smc"),
        vm,
        fid: either(
          [10, pick(...FIDS)],
          [1, nat(0xffff_ffff)],
          [1, pick(0x8400_0000, 0xc600_0000)],
        ),
        words: list(registerWord, 0, 7),
        method: rarely(12, pick("smc", "hvc")),
        immediate: rarely(20, nat(3)),
        aarch32: rarely(10, pick(true)),
        convention64: rarely(10, pick(true)),
      }),
    ],
    [2, record({ do: pick("write"), vm, at: ownPage, offset: nat(511), words: list(word, 1, 8) })],
    [1, record({ do: pick("balloon"), vm, at: place, refill: pick(false, true) })],
    [1, record({ do: pick("protect"), vm, at: place, writable: pick(true, false) })],
    [1, record({ do: pick("donate"), vm, at: ownPage, to: vm, target: ownPage })],
    [1, record({ do: pick("destroy"), vm })],
    [1, record({ do: pick("create"), vm, refuse })],
  );

const EMULATED: StepChoices = {
  vm: slot,
  ta: pick(...TA_NAMES),
  func: either([3, nat(9)], [1, nat(40)]),
  messageAt: place,
  refuse: pick(false, false, true),
  otherFunction: 8,
  often: { open: 6, bare: 6, invoke: 8, end: 3, register: 7, answer: 16 },
};

const simple = stepsOf(EMULATED);

/** What happens between two accesses of the mediator or the secure world to a guest's memory. */
const race = record({
  /** Before which access of the step, counted from 0. */
  at: nat(12),
  /** Changes 32 bits of the page that is about to be accessed, or lets something else happen. */
  does: either(
    [
      6,
      record({
        do: pick("poke"),
        offset: either([3, nat(24)], [1, nat(1023)]),
        value: either([3, pick(0, 1, 4, 5, 6, 7, 9, 0xa, 0x20a, 0x80, 0xffff_ffff)], [1, place]),
      }),
    ],
    // The very page that is about to be accessed is taken away or becomes read-only.
    [1, record({ do: pick("take"), how: pick("balloon", "protect") })],
    [3, simple],
  ),
});

const LIE_NAMES = LIES.slice(1);

/** What goes with any step. */
export const circumstances = record({
  /** Of the RPCs that the step answers the first, from the given turn on, that the lie fits. */
  lie: rarely(
    4,
    record({
      turn: nat(8),
      lie: pick("cmd", "contiguous", ...LIE_NAMES),
      at: either([2, place], [1, pick("host", "reserved")]),
      cookie,
    }),
  ),
  races: rarely(5, list(race, 1, 3)),
  /** At which of the places where an interrupt can be taken one is pending. */
  interrupts: rarely(5, list(nat(6), 1, 4)),
  /** Which allocation of the mediator fails. */
  fails: rarely(24, nat(5)),
  /** What the scripted secure world does, one number for each of its entries; then it completes. */
  script: rarely(2, list(nat(63), 1, 6)),
});

const STEP = record({ step: simple, with: circumstances });

/** Command numbers of TAs go up to this one. */
export const MAX_FUNC = 60;
/** A step in a file: of a program for emulated or for real machines. */
export const STORED_STEP = record({
  step: stepsOf({ ...EMULATED, func: nat(MAX_FUNC) }),
  with: circumstances,
});

/** The secure world: our OP-TEE model, or a scripted one that is hostile. */
export const WORLDS = ["model", "scripted"] as const;

const MACHINE_SHAPE = record({
  world: pick("model", "model", "model", "scripted"),
  /** Random physical addresses come from it. */
  seed: nat(0xffff_ffff),
  threads: pick(2, 1, 3),
  guests: pick(4, 2, 3),
  cache: pick(true, false),
});

/** What a generated program is made of. */
export const PROGRAM = record({ machine: MACHINE_SHAPE, steps: list(STEP, 40, 120) });

/** A program in a file: of any length. */
export const STORED_PROGRAM = record({
  machine: MACHINE_SHAPE,
  steps: list(STORED_STEP, 0, MAX_STEPS),
});

/** Leaves out what cannot matter: scripts without a scripted secure world, fields that are not set. */
export function tidy(program: Program): Program {
  const scripted = program.machine.world === "scripted";
  const steps = program.steps.map(({ step, with: around }) => ({
    step: defined(step),
    with: defined(scripted ? around : { ...around, script: undefined }),
  }));
  return { machine: program.machine, steps: steps as Program["steps"] };
}

function defined<T extends object>(given: T): T {
  const entries = Object.entries(given).filter(([, entry]) => entry !== undefined);
  return Object.fromEntries(entries) as T;
}

export type Program = Of<typeof PROGRAM>;
export type MachineSpec = Program["machine"];
export type Step = Program["steps"][number];
export type SimpleStep = Step["step"];
export type Race = NonNullable<Step["with"]["races"]>[number];
export type Param = Of<typeof param>;
export type ListParam = Of<typeof pages>;
export type MessageSpec = Of<typeof message>;
export type Place = Of<typeof place>;
export type CookieSpec = Of<typeof cookie>;
export type SizeSpec = Of<typeof size>;
export type RegisterWord = Of<typeof registerWord>;
export type Lie = (typeof LIES)[number];
export type Answer = Of<typeof answer>;
