import type { Ipa } from "../../machine/index.ts";
import { ATTR_TYPE, MSG_CMD, OPTEE_SMC, RPC_CMD, SMC_RETURN, TEEC } from "../../optee-abi/index.ts";
import { type GuestKit, tmem, value } from "./guest-kit.ts";
import { failWith, finish, rpc } from "./scripted-port.ts";

type Draft = Parameters<GuestKit["put"]>[0];
const interrupt = rpc(SMC_RETURN.RPC_FOREIGN_INTR);
const COOKIE = 0xc1;
const ALLOCATE = { cmd: RPC_CMD.SHM_ALLOC, params: [value(1, 0n, 4096n, 8n)] };
const TIME = { cmd: RPC_CMD.GET_TIME, params: [value(2)] };

const offer = (pointer: bigint, cookie: bigint): Draft => ({
  cmd: RPC_CMD.SHM_ALLOC,
  ret: 0,
  params: [tmem(pointer, 4096, cookie)],
});

/** Everything a guest does with shared memory, failures included, to its end; the registers it saw. */
export function everything(kit: GuestKit): bigint[] {
  const seen: bigint[] = [];
  const see = (registers: { toArray(): bigint[] }): void => {
    seen.push(...registers.toArray());
  };
  const list = (pages: number, offset = 0) => kit.list(pages, offset).pointer;
  see(kit.smc([OPTEE_SMC.EXCHANGE_CAPABILITIES, 1]));
  see(kit.call(kit.register(1n, 3).at));
  const argument = kit.withRpcArgument(COOKIE);
  /** The secure world asks, the guest writes `answer` and resumes; an interrupt follows. */
  const exchange = (request: Draft, answer: Draft, spoil?: () => void): void => {
    see(kit.ask(argument, request));
    const { cmd, params } = kit.get(argument.page);
    seen.push(BigInt(cmd), ...params.flatMap(({ attr, a, b, c }) => [attr, a, b, c]));
    kit.put(answer, argument.page);
    spoil?.();
    kit.port.steps.push(interrupt);
    see(kit.resume(0, 0, COOKIE));
  };
  exchange(ALLOCATE, offer(list(2, 0x10), 2n));
  const free = { cmd: RPC_CMD.SHM_FREE, params: [value(1, 0n, 2n)] };
  exchange(free, { ...free, ret: 0 });
  exchange(
    { cmd: RPC_CMD.FS, params: [value(2), value(3, 5n), tmem(0n, 64, 1n, ATTR_TYPE.TMEM_OUTPUT)] },
    {
      cmd: RPC_CMD.FS,
      ret: 0,
      params: [value(2, 1n, 2n, 3n), value(3, 4n), tmem(0n, 32, 1n, ATTR_TYPE.TMEM_OUTPUT)],
    },
  );
  exchange(ALLOCATE, { ...ALLOCATE, ret: TEEC.TEEC_ERROR_OUT_OF_MEMORY });
  // A buffer that the guest has to free again, and what it answers to that.
  exchange(ALLOCATE, offer(0x1000n, 3n));
  see(kit.resume(0, 0, COOKIE));
  exchange(TIME, { ...TIME, ret: 0 }, () => {
    kit.vm.conduit.memory.write((argument.page + 28) as Ipa, Uint8Array.of(0xff, 0xff));
  });
  exchange(TIME, { ...TIME, ret: 0 }, () => kit.vm.space.balloon(argument.page as Ipa));
  kit.vm.space.refill(argument.page as Ipa);
  // A request that cannot be delivered, and the end of the call.
  kit.vm.space.protect(argument.page as Ipa, 2);
  kit.port.steps.push(interrupt);
  see(kit.ask(argument, { ...TIME, ret: 0 }));
  kit.port.steps.length = 0;
  kit.port.steps.push(rpc(SMC_RETURN.RPC_FREE, argument.wireHigh, argument.wireLow));
  see(kit.resume(0, 0, COOKIE));
  kit.port.steps.push(finish(SMC_RETURN.OK));
  see(kit.resume());
  const temporary = [list(2), list(1, 5)].map((at, index) => tmem(at, 4096, BigInt(index + 10)));
  kit.port.steps.push(failWith(TEEC.TEEC_ERROR_GENERIC));
  see(kit.call(kit.put({ cmd: MSG_CMD.INVOKE_COMMAND, params: temporary })));
  const refused = [...temporary, tmem(1n, 1, 1n)];
  see(kit.call(kit.put({ cmd: MSG_CMD.INVOKE_COMMAND, params: refused })));
  return seen;
}
