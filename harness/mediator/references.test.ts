import { expect, test } from "@jest/globals";
import type { Ipa } from "../machine/index.ts";
import { MSG_CMD, RPC_CMD, SMC_RETURN } from "../optee-abi/index.ts";
import { GuestKit, RAM, tmem, value } from "./testkit/guest-kit.ts";
import { GUESTS, rpc } from "./testkit/scripted-port.ts";

const inGuests = (at: number): boolean => at >= GUESTS.base && at < GUESTS.base + GUESTS.size;

test("MED-045, MED-063, MED-090, MED-102: the mediator holds a reference to every page it looks at", () => {
  const kit = new GuestKit();
  const loose: string[] = [];
  let seen = 0;
  kit.port.sparse.probe = ({ by, at, kind }) => {
    if (by !== "mediator" || !inGuests(at)) return;
    seen += 1;
    if (kit.mediator.frames.pins(Math.floor(at / 4096)) === 0) loose.push(kind);
  };
  const { pointer } = kit.list(2);
  kit.call(kit.put({ cmd: MSG_CMD.INVOKE_COMMAND, params: [tmem(pointer, 8192, 1n), value(3)] }));
  const argument = kit.withRpcArgument(7);
  kit.ask(argument, { cmd: RPC_CMD.GET_TIME, params: [value(2)] });
  kit.resume(0, 0, 7);
  expect(seen).toBeGreaterThan(6);
  expect(loose).toEqual([]);
  kit.vm.destroy();
  expect(kit.mediator.frames.pinnedFrames()).toBe(0);
});

test("MED-090: a page that goes away while results are written is nobody else's until they are", () => {
  const kit = new GuestKit();
  const other = kit.addVm();
  const at = kit.put({ cmd: MSG_CMD.INVOKE_COMMAND, params: [value(3), value(3)] });
  const frame = kit.machine(at) / 4096;
  let owners: number[] = [];
  kit.port.sparse.probe = ({ by, kind, at: where }) => {
    if (by !== "mediator" || kind !== "write" || Math.floor(where / 4096) !== frame) return;
    kit.vm.space.donate(at as Ipa, other.space, (RAM + 0x200_0000) as Ipa);
    owners = [...owners, kit.mediator.frames.owner(frame)];
  };
  kit.call(at);
  // Several writes, and the other VM has the page only after the last of them.
  expect(owners.length).toBeGreaterThan(2);
  expect(owners.every((owner) => owner === 0)).toBe(true);
  expect(kit.mediator.frames.owner(frame)).toBe(other.space.owner);
});

test("MED-090: a call suspended meanwhile loses its result when its page is gone", () => {
  const kit = new GuestKit();
  const at = kit.put({ cmd: MSG_CMD.INVOKE_COMMAND });
  kit.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR));
  kit.call(at);
  kit.vm.space.balloon(at as Ipa);
  expect(kit.resume().get(0)).toBe(SMC_RETURN.EBADADDR);
});
