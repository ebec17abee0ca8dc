import type { Task } from "../../machine/index.ts";
import { TEEC } from "../../optee-abi/index.ts";
import { type Caller, kernelCaller } from "../supplicant-queue.ts";
import type { Bench } from "./boot.ts";
import type { RpcReply, RpcWords, Script, ScriptedCall } from "./scripted-world.ts";

/** Runs `script` in the secure world, called by a client; gives what it gives. */
export function* inSecureWorld<T>(
  bench: Bench,
  script: (call: ScriptedCall) => Script<T>,
  caller: Caller = { ...kernelCaller(), supplicantNoWait: false },
): Task<T> {
  const results: T[] = [];
  bench.world.onMessage = (call) => run(call);
  function* run(call: ScriptedCall): Script {
    // What is sent meanwhile is answered as always.
    bench.world.onMessage = undefined;
    results.push(yield* script(call));
    call.message.ret = TEEC.TEEC_SUCCESS;
    return 0;
  }
  yield* bench.driver.invoke(1, 0, 0, [], caller);
  const [result] = results;
  if (result === undefined) throw new Error("the script did not end");
  return result;
}

/** One RPC, and what came back. */
export const rpc = (bench: Bench, command: number, ...params: readonly RpcWords[]): RpcReply =>
  bench.run(inSecureWorld(bench, (call) => call.rpc(command, ...params)));

export const VALUE_IN = 1;
export const VALUE_OUT = 2;
export const VALUE_INOUT = 3;
