import { type Ipa, Registers } from "../../harness/machine/index.ts";
import {
  ATTR_META_VALUE_INPUT,
  encodeMessage,
  MSG_CMD,
  type Message,
  OPTEE_SMC,
  decodeMessage,
  isRpcReturn,
  RPC_FUNC,
  rpcFunction,
  UUIDS,
} from "../../harness/optee-abi/index.ts";
import { uuidOctets } from "../../harness/base/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";

const PAGE = 4096;

/** A driver of one page, which serves nothing but foreign interrupts. */
class BareDriver {
  readonly #context: ScenarioContext;
  /** Where the message goes. */
  readonly page: Ipa;

  constructor(context: ScenarioContext) {
    this.#context = context;
    this.page = (context.conduit.ram.base + 16 * PAGE) as Ipa;
  }

  /** x0 to x3 of a raw call. */
  smc(...words: number[]): number[] {
    const registers = new Registers(words);
    this.#context.conduit.smc(registers);
    return [0, 1, 2, 3].map((index) => registers.get(index));
  }

  /** a0 of CALL_WITH_ARG with these bytes as the message. */
  raw(message: Uint8Array): number {
    this.#context.conduit.memory.write(this.page, message);
    const high = Math.floor(this.page / 0x1_0000_0000);
    return this.smc(OPTEE_SMC.CALL_WITH_ARG, high, this.page >>> 0)[0] ?? -1;
  }

  /** a0 and the message after CALL_WITH_ARG with `message` in the page. */
  call(message: Parameters<typeof encodeMessage>[0], offset = 0): { a0: number; back: Message } {
    const { memory } = this.#context.conduit;
    const at = (this.page + offset) as Ipa;
    memory.write(at, encodeMessage(message));
    const registers = new Registers([OPTEE_SMC.CALL_WITH_ARG]);
    registers.setPair(1, at);
    this.#context.conduit.smc(registers);
    while (isRpcReturn(registers.get(0))) {
      if (rpcFunction(registers.get(0)) !== RPC_FUNC.FOREIGN_INTR) {
        this.#context.skip("the secure world asks for a service that this driver does not have");
      }
      registers.set(0, OPTEE_SMC.RETURN_FROM_RPC);
      this.#context.conduit.smc(registers);
    }
    return { a0: registers.get(0), back: decodeMessage(memory.read(at, PAGE)) };
  }
}

const scenario = (
  clauses: readonly string[],
  run: (driver: BareDriver) => Data,
  conduits: Scenario["conduits"] = ["direct", "hwdom"],
): Scenario => ({ conduits, clauses, run: (context) => run(new BareDriver(context)) });

/** A command of the messages that does not exist, with a result left in the message by the caller. */
export const unknownCommand = scenario(
  ["SMC-4.1.9", "MSG-2.OTHER", "SMC-2.EBADCMD"],
  (driver) => {
    const { a0, back } = driver.call({ cmd: 99, ret: 0x1234, ret_origin: 9 });
    return { a0, ret: back.ret, origin: back.ret_origin };
  },
  ["direct", "hwdom", "vm"],
);

export const unknownYieldingFunction = scenario(["SMC-4.1.2"], (driver) =>
  driver.smc(0x3200_0020, 0, 0, 0),
);

export const misalignedArgument = scenario(["SMC-4.1.5"], (driver) => {
  const { a0 } = driver.call({ cmd: MSG_CMD.CLOSE_SESSION }, 8);
  return a0;
});

export const argumentOutsideOfMemory = scenario(["SMC-4.1.5"], (driver) =>
  driver.smc(OPTEE_SMC.CALL_WITH_ARG, 0xf, 0xffff_f000, 0),
);

export const tooManyParameters = scenario(["SMC-4.1.7"], (driver) => {
  const message = encodeMessage({ cmd: MSG_CMD.CLOSE_SESSION });
  return [127, 128, 200].map((count) => {
    new DataView(message.buffer).setUint32(28, count, true);
    return driver.raw(message);
  });
});

export const resumeOfNothing = scenario(
  ["SMC-4.2.RESUME_CHECK", "SMC-2.ERESUME"],
  (driver) =>
    [0, 1, 99, 0xffff_ffff].map(
      (thread) => driver.smc(OPTEE_SMC.RETURN_FROM_RPC, 0, 0, thread)[0] ?? -1,
    ),
  ["direct", "hwdom", "vm"],
);

export const unknownRegisteredArgument = scenario(
  ["SMC-4.1.6", "MSG-2.3.5", "SMC-2.EBADADDR"],
  (driver) => driver.smc(OPTEE_SMC.CALL_WITH_REGD_ARG, 0xdead, 0xbeef, 0),
);

/** Closing and cancelling what is not there, with and without parameters. */
export const noSuchSession = scenario(
  ["MSG-2.CANCEL", "MSG-2.CLOSE_SESSION"],
  (driver) => ({
    close: driver.call({ cmd: MSG_CMD.CLOSE_SESSION, session: 77 }).back.ret,
    cancel: driver.call({ cmd: MSG_CMD.CANCEL, session: 77 }).back.ret,
    closeWithParams: driver.call({ cmd: MSG_CMD.CLOSE_SESSION, session: 77, params: [{}] }).back
      .ret,
  }),
  ["direct", "hwdom", "vm"],
);

/** The device-enumeration pseudo-TA by hand: sessions count from 1 and start again when all are closed. */
export const pseudoTaByHand = scenario(
  ["MSG-2.OPEN_SESSION", "MSG-2.1.P0", "MSG-2.1.P1", "MSG-2.1.1", "MSG-2.1.2", "SMC-4.1.10"],
  (driver) => {
    const octets = uuidOctets(UUIDS.deviceEnumeration);
    const view = new DataView(octets.buffer);
    const words = { a: view.getBigUint64(0, true), b: view.getBigUint64(8, true) };
    const open = (attr = ATTR_META_VALUE_INPUT, login = 0x8000_0000n): Message =>
      driver.call({
        cmd: MSG_CMD.OPEN_SESSION,
        params: [
          { attr: BigInt(attr), ...words },
          { attr: BigInt(ATTR_META_VALUE_INPUT), c: login },
        ],
      }).back;
    const close = (session: number): number =>
      driver.call({ cmd: MSG_CMD.CLOSE_SESSION, session }).back.ret;
    const first = open();
    const second = open();
    const closed = [close(first.session), close(second.session), close(second.session)];
    const again = open();
    closed.push(close(again.session));
    const withoutMeta = open(1);
    const badLogin = open(ATTR_META_VALUE_INPUT, 3n);
    return {
      results: [first.ret, second.ret, again.ret],
      sessions: [first.session, second.session, again.session],
      closed,
      refused: [withoutMeta.ret, withoutMeta.session, badLogin.ret, badLogin.session],
    };
  },
  ["direct", "hwdom", "vm"],
);
