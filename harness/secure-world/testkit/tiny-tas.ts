import { TEEC } from "../../optee-abi/index.ts";
import { taParams, type TaParams } from "../param.ts";
import { TA_FLAG, type TaInstance, type TeeApi, type TrustedApplication } from "../tas/index.ts";
import type { SecureTask } from "../thread.ts";

/** What the tiny TAs do when invoked. */
export const TINY_CMD = { RETURN: 0, WAIT: 1, PANIC: 2, ABORT: 3, OPEN: 4, CHANGE: 5, PASS: 6 };

const { SINGLE_INSTANCE, MULTI_SESSION, INSTANCE_KEEP_ALIVE, INSTANCE_KEEP_CRASHED } = TA_FLAG;

/** A TA of a few bytes, so that loading it is quick; it counts how its entry points are called. */
export class TinyTa {
  readonly calls: string[] = [];
  /** Results of the entry points; PANIC instead panics. */
  results: { create?: number; open?: number } = {};
  readonly ta: TrustedApplication;

  constructor(digit: number, flags: number, peer?: () => string) {
    const uuid = `aaaaaaaa-0000-4000-8000-00000000000${digit}`;
    const { calls } = this;
    const result = (name: "create" | "open"): number => {
      calls.push(name);
      return this.results[name] ?? TEEC.TEEC_SUCCESS;
    };
    this.ta = {
      name: `tiny ${digit}`,
      uuid,
      flags,
      stackSize: 4096,
      dataSize: 4096,
      imageSize: 16,
      instantiate: (): TaInstance => ({
        create: () => result("create"),
        open: () => result("open"),
        invoke: (tee, command, params) => {
          calls.push("invoke");
          return invoke(tee, command, params, peer?.() ?? uuid);
        },
        close: () => {
          calls.push("close");
          return undefined;
        },
        destroy: () => void calls.push("destroy"),
      }),
    };
  }

  get uuid(): string {
    return this.ta.uuid;
  }
}

function* invoke(tee: TeeApi, command: number, params: TaParams, peer: string): SecureTask<number> {
  const [first] = params;
  switch (command) {
    case TINY_CMD.RETURN:
      return first.a;
    case TINY_CMD.WAIT:
      tee.maskCancellation(first.b !== 0);
      return yield* tee.wait(first.a % 10_000);
    case TINY_CMD.PANIC: {
      const code = first.a;
      change(params);
      return tee.panic(code);
    }
    case TINY_CMD.ABORT:
      throw new RangeError("read of address 0");
    case TINY_CMD.OPEN:
      return (yield* tee.openTaSession(peer, taParams())).result;
    case TINY_CMD.CHANGE:
      change(params);
      return TEEC.TEEC_ERROR_SHORT_BUFFER;
    case TINY_CMD.PASS: {
      const opened = yield* tee.openTaSession(peer, taParams());
      if (opened.result !== TEEC.TEEC_SUCCESS) return opened.result;
      const passed = yield* tee.invokeTaCommand(opened.session, TINY_CMD.PASS, params, first.b);
      yield* tee.closeTaSession(opened.session);
      return passed.result;
    }
    default:
      return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  }
}

function change(params: TaParams): void {
  for (const param of params) {
    param.a = 0xaaaa_aaaa;
    param.b = 0xbbbb_bbbb;
    param.size += 7;
  }
}

export const TINY_FLAGS = {
  multiInstance: 0,
  singleSession: SINGLE_INSTANCE,
  shared: SINGLE_INSTANCE | MULTI_SESSION,
  keepAlive: SINGLE_INSTANCE | MULTI_SESSION | INSTANCE_KEEP_ALIVE,
  keepCrashed: SINGLE_INSTANCE | MULTI_SESSION | INSTANCE_KEEP_ALIVE | INSTANCE_KEEP_CRASHED,
} as const;
