import { FS_OP, MSG_CMD, OPTEE_SMC, RPC_CMD, SMC_RETURN, TEEC } from "../../../optee-abi/index.ts";
import type {
  HexWord,
  Trace,
  TraceHeader,
  TraceMessage,
  TraceParam,
  TraceRecord,
} from "../../../run/index.ts";

/** What one platform calls the things that have no common name; `n` counts from 1. */
export interface Names {
  readonly page: (n: number) => bigint;
  readonly cookie: (n: number) => bigint;
  readonly session: (n: number) => number;
  readonly thread: number;
  readonly time: number;
  readonly taSize: number;
}

export const EMULATED_NAMES: Names = {
  page: (n) => 0x4200_0000n + BigInt(n) * 0x3000n,
  cookie: (n) => BigInt(0x100 + n * 8),
  session: (n) => n,
  thread: 0,
  time: 1_700_000_000,
  taSize: 5000,
};
export const REAL_NAMES: Names = {
  page: (n) => 0x8_4321_0000n - BigInt(n) * 0x1000n,
  cookie: (n) => 0xffff_0000_8000_0000n + BigInt(n) * 0x40n,
  session: (n) => 3 * n + 1,
  thread: 1,
  time: 1_800_000_123,
  taSize: 71_234,
};

/** Something that a scenario does, with how the secure world answers; numbers name pages, cookies, sessions. */
export type Op =
  | { readonly op: "fast"; readonly fid: number; readonly answer: readonly number[] }
  | { readonly op: "register"; readonly cookie: number; readonly page: number }
  | { readonly op: "unregister"; readonly cookie: number; readonly page: number }
  | { readonly op: "open"; readonly session: number; readonly page: number; readonly ret: number }
  | {
      readonly op: "invoke";
      readonly session: number;
      readonly func: number;
      readonly value: number;
      readonly cookie: number;
      readonly page: number;
      /** Foreign interrupts on the way. */
      readonly interrupts: number;
      readonly file: boolean;
      readonly ret: number;
    }
  | { readonly op: "time"; readonly page: number }
  | { readonly op: "close"; readonly session: number; readonly page: number };

const word = (value: bigint | number): HexWord => `0x${value.toString(16)}`;

export function registers(...values: readonly (bigint | number)[]): readonly HexWord[] {
  return Array.from({ length: 8 }, (_, index) => word(values[index] ?? 0));
}

const pair = (value: bigint): [bigint, bigint] => [value >> 32n, value & 0xffff_ffffn];

export function param(
  attr: number,
  a: bigint | number = 0,
  b: bigint | number = 0,
  c: bigint | number = 0,
  data?: string,
): TraceParam {
  const bytes = data === undefined ? undefined : Buffer.from(data);
  return {
    attr: word(attr),
    a: word(a),
    b: word(b),
    c: word(c),
    ...(bytes === undefined
      ? {}
      : {
          data: {
            size: bytes.length,
            digest: bytes.toString("hex").padEnd(16, "0").slice(0, 16),
            head: bytes.subarray(0, 32).toString("hex"),
          },
        }),
  };
}

export const HEADER: TraceHeader = {
  type: "trace",
  format: 1,
  target: "emulated",
  caseId: "smc-abi.a-case",
  run: 0,
  reference: "smc-abi/file#scenario",
  conduit: "direct",
  seed: 1,
  clauses: [],
};

/** Writes the trace of a platform that calls things as `names` says. */
export class TraceMaker {
  readonly records: TraceRecord[] = [];
  readonly #names: Names;
  readonly #guest: number;

  constructor(names: Names, guest = 0) {
    this.#names = names;
    this.#guest = guest;
  }

  smc(phase: "enter" | "leave", regs: readonly HexWord[], message?: TraceMessage): void {
    this.records.push({
      type: "smc",
      where: "conduit",
      phase,
      guest: this.#guest,
      registers: regs,
      ...(message === undefined ? {} : { message }),
    });
  }

  message(
    page: number,
    fields: Partial<TraceMessage>,
    role: "call" | "rpc" = "call",
  ): TraceMessage {
    const params = fields.params ?? [];
    return {
      role,
      at: word(this.#names.page(page)),
      cmd: 0,
      func: 0,
      session: 0,
      cancelId: 0,
      ret: 0,
      retOrigin: 0,
      numParams: params.length,
      params: [],
      ...fields,
    };
  }

  /** A yielding call; `during` makes its RPCs. */
  call(
    page: number,
    sent: Partial<TraceMessage>,
    done: Partial<TraceMessage>,
    during: () => void = () => {},
  ): void {
    const at = pair(this.#names.page(page));
    this.smc("enter", registers(OPTEE_SMC.CALL_WITH_ARG, ...at), this.message(page, sent));
    during();
    const after = this.message(page, { ...sent, ...done });
    this.smc("leave", registers(SMC_RETURN.OK), after);
  }

  rpc(page: number, request: Partial<TraceMessage>, answer: Partial<TraceMessage>): void {
    const { thread } = this.#names;
    const asked = { ret: TEEC.TEEC_ERROR_GENERIC, ...request };
    const regs = registers(SMC_RETURN.RPC_CMD, 0, 0, thread);
    this.smc("leave", regs, this.message(page, asked, "rpc"));
    const reply = this.message(page, { ...asked, ret: 0, ...answer }, "rpc");
    this.smc("enter", registers(OPTEE_SMC.RETURN_FROM_RPC, 0, 0, thread), reply);
  }

  interrupt(): void {
    const { thread } = this.#names;
    this.smc("leave", registers(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, thread));
    this.smc("enter", registers(OPTEE_SMC.RETURN_FROM_RPC, 0, 0, thread));
  }

  #loadTa(page: number): void {
    const { taSize } = this.#names;
    const uuid = param(1, 0x1234n, 0x5678n);
    const ask = (size: number): TraceParam => param(6, 0, size, this.#names.cookie(90));
    this.rpc(
      page,
      { cmd: RPC_CMD.LOAD_TA, params: [uuid, param(0xa)] },
      { params: [uuid, param(0xa, 0, taSize)] },
    );
    this.rpc(
      page,
      { cmd: RPC_CMD.SHM_ALLOC, params: [param(1, 0, taSize, 8)] },
      {
        params: [param(0x20a, this.#names.page(90), taSize, this.#names.cookie(90))],
      },
    );
    this.rpc(
      page,
      { cmd: RPC_CMD.LOAD_TA, params: [uuid, ask(taSize)] },
      {
        params: [
          uuid,
          { ...ask(taSize), data: { size: taSize, digest: word(taSize).slice(2), head: "7f" } },
        ],
      },
    );
    const free = { cmd: RPC_CMD.SHM_FREE, params: [param(1, 0, this.#names.cookie(90))] };
    this.rpc(page, free, {});
  }

  run(op: Op): void {
    const { page, cookie, session, time } = this.#names;
    switch (op.op) {
      case "fast":
        this.smc("enter", registers(op.fid));
        this.smc("leave", registers(...op.answer));
        break;
      case "register": {
        const memory = param(0x20a, page(op.page + 50) + 0x18n, 4096, cookie(op.cookie));
        this.call(op.page, { cmd: MSG_CMD.REGISTER_SHM, params: [memory] }, {});
        break;
      }
      case "unregister": {
        const memory = param(5, 0, 0, cookie(op.cookie));
        this.call(op.page, { cmd: MSG_CMD.UNREGISTER_SHM, params: [memory] }, {});
        break;
      }
      case "open": {
        const failed = op.ret !== 0;
        const params = [param(0x101, 0xabcdn, 0xef01n), param(0x101)];
        const done = { ret: op.ret, retOrigin: 3, session: failed ? 0 : session(op.session) };
        this.call(op.page, { cmd: MSG_CMD.OPEN_SESSION, params }, done, () => {
          this.#loadTa(op.page);
        });
        break;
      }
      case "invoke": {
        const { func, value, ret } = op;
        const params = [param(3, value, value + 1), param(7, 16, 64, cookie(op.cookie), "out")];
        const sent = { cmd: MSG_CMD.INVOKE_COMMAND, func, session: session(op.session), params };
        this.call(op.page, sent, { ret, retOrigin: 4 }, () => {
          for (let i = 0; i < op.interrupts; i += 1) this.interrupt();
          if (!op.file) return;
          const name = param(5, 0, 5, cookie(op.cookie), "a.db\0");
          const open = { cmd: RPC_CMD.FS, params: [param(1, FS_OP.OPEN), name, param(2)] };
          this.rpc(op.page, open, { params: [param(1, FS_OP.OPEN), name, param(2, 7)] });
        });
        break;
      }
      case "time":
        this.call(op.page, { cmd: MSG_CMD.INVOKE_COMMAND, session: session(1) }, {}, () => {
          const ask = { cmd: RPC_CMD.GET_TIME, params: [param(2)] };
          this.rpc(op.page, ask, { params: [param(2, time, time % 1000)] });
        });
        break;
      case "close":
        this.call(op.page, { cmd: MSG_CMD.CLOSE_SESSION, session: session(op.session) }, {});
        break;
      default:
        op satisfies never;
    }
  }
}

export function traceOf(
  ops: readonly Op[],
  names: Names,
  {
    result = () => null,
    ...header
  }: Partial<TraceHeader> & { result?: (names: Names) => unknown } = {},
): Trace {
  const maker = new TraceMaker(names);
  for (const op of ops) maker.run(op);
  maker.records.push({ type: "end", how: "done", value: result(names) });
  return { header: { ...HEADER, ...header }, records: maker.records };
}
