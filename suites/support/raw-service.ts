import {
  type Message,
  RPC_CMD,
  SMC_RETURN,
  TEEC,
  rpcCommandName,
} from "../../harness/optee-abi/index.ts";
import { type Asked, type Back, type Draft, type RawDriver, tmem } from "./raw-driver.ts";

/** What a service makes of a request: the answer. */
export type Serve = (request: Message) => Draft;

export interface RawServiceOptions {
  /** By the command's name, where it is not served as usual. */
  readonly services?: Readonly<Record<string, Serve>>;
  /** RPCs by name that are not served: the call is left suspended in them. */
  readonly stopAt?: readonly string[];
}

/** Answers with this result and the request's own parameters. */
export const refuse =
  (ret: number): Serve =>
  (request) => ({ ...request, ret });

/** RPCs that are no commands. */
const FUNCTIONS: Readonly<Record<number, string>> = {
  [SMC_RETURN.RPC_ALLOC]: "ALLOC",
  [SMC_RETURN.RPC_FREE]: "FREE",
};
const NOT_FOUND = refuse(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
/** Serves the RPCs of a raw driver's calls: there is memory, but there are no files and no TAs. */
export class RawService {
  readonly driver: RawDriver;
  /** Requests of every CMD that came, in order, as they were before they were answered. */
  readonly requests: Message[] = [];
  readonly #options: RawServiceOptions;

  constructor(driver: RawDriver, options: RawServiceOptions = {}) {
    this.driver = driver;
    this.#options = options;
  }

  /** Goes on with a call until it is done, or asks for what is not served. */
  finish(from: Back): Back {
    let back = from;
    // A call that asks for ever is a mistake of somebody's, and must not look like a slow one.
    for (let turn = 0; turn < 2000; turn += 1) {
      const { rpc } = back;
      if (rpc === undefined) return back;
      const name = rpc.a0 === SMC_RETURN.RPC_CMD ? this.#commandOf(rpc) : FUNCTIONS[rpc.a0];
      if (name !== undefined && this.#options.stopAt?.includes(name) === true) return back;
      back = this.step(rpc);
    }
    throw new Error(`the call goes on asking: ${this.driver.asked.slice(-5).join(" ")}`);
  }

  /** Sends a message and serves its call. */
  call(message: Draft): Back & { readonly at: ReturnType<RawDriver["put"]> } {
    const { at, ...back } = this.driver.send(message);
    return { at, ...this.finish(back) };
  }

  /** ret and ret_origin of a message's call, served to its end. */
  outcome(message: Draft): readonly [ret: number, origin: number] {
    const { at } = this.call(message);
    const { ret, ret_origin: origin } = this.driver.get(at);
    return [ret, origin];
  }

  #commandOf(rpc: Asked): string {
    return rpcCommandName(this.driver.request(rpc).cmd);
  }

  /** Serves this one RPC, whatever is not to be served. */
  step(rpc: Asked): Back {
    const { driver } = this;
    if (rpc.a0 === SMC_RETURN.RPC_ALLOC) return driver.giveArgument(rpc, driver.nextCookie());
    if (rpc.a0 === SMC_RETURN.RPC_FREE) return driver.resume(rpc);
    const request = driver.request(rpc);
    this.requests.push(request);
    const own = this.#options.services?.[rpcCommandName(request.cmd)];
    return driver.answer(rpc, (own ?? this.#usual(request.cmd))(request));
  }

  #usual(command: number): Serve {
    switch (command) {
      case RPC_CMD.SHM_ALLOC:
        return (request) => this.memoryFor(request);
      case RPC_CMD.LOAD_TA:
      case RPC_CMD.FS:
        return NOT_FOUND;
      case RPC_CMD.SHM_FREE:
      case RPC_CMD.NOTIFICATION:
      case RPC_CMD.SUSPEND:
        return refuse(TEEC.TEEC_SUCCESS);
      default:
        return refuse(TEEC.TEEC_ERROR_NOT_SUPPORTED);
    }
  }

  /** The answer of a driver that has the memory. */
  memoryFor(request: Message): Draft {
    const size = Number(request.params[0]?.b ?? 0n);
    const pages = this.driver.pages(Math.max(1, Math.ceil(size / 4096)));
    const params = [tmem(this.driver.list(pages), size, BigInt(this.driver.nextCookie()))];
    return { ...request, ret: 0, params };
  }
}
