import { expect, test } from "@jest/globals";
import { AccessRecorder, type Ipa, type Pa } from "../machine/index.ts";
import { MSG_CMD, OPTEE_SMC, SMC_RETURN, TEEC } from "../optee-abi/index.ts";
import { RULE_SETS } from "./rules.ts";
import { CopiedMemory } from "./testkit/copied-memory.ts";
import { everything } from "./testkit/everything.ts";
import { GuestKit, RAM, tmem } from "./testkit/guest-kit.ts";
import { GUESTS, HEAP, ScriptedPort, finish, rpc } from "./testkit/scripted-port.ts";

const RULES = Object.keys(RULE_SETS) as (keyof typeof RULE_SETS)[];
const interrupt = rpc(SMC_RETURN.RPC_FOREIGN_INTR);
const onePage = { base: HEAP.base, size: 4096 };

test("MED-044: a mediator whose memory is used up answers ENOMEM, and goes on when some is free again", () => {
  const kit = new GuestKit({ heap: onePage });
  const at = kit.put({ cmd: MSG_CMD.INVOKE_COMMAND });
  kit.port.steps.push(interrupt);
  kit.call(at);
  expect(kit.mediator.heapPages).toBe(1);
  expect(kit.call(at).get(0)).toBe(SMC_RETURN.ENOMEM);
  expect(kit.mediator.heapPages).toBe(1);
  expect(kit.resume().get(0)).toBe(SMC_RETURN.OK);
  expect(kit.mediator.heapPages).toBe(0);
  expect(kit.call(at).get(0)).toBe(SMC_RETURN.OK);
});

test("MED-061: a mediator without a page for the list says OUT_OF_MEMORY and keeps nothing", () => {
  const kit = new GuestKit({ heap: onePage });
  const { pointer, pages } = kit.list(1);
  const at = kit.put({ cmd: MSG_CMD.INVOKE_COMMAND, params: [tmem(pointer, 4096, 1n)] });
  expect(kit.call(at).get(0)).toBe(SMC_RETURN.OK);
  expect(kit.get(at).ret).toBe(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
  expect([kit.mediator.heapPages, kit.pins(pages[0] ?? 0)]).toEqual([0, 0]);
});

test("MED-121: a mediator without a page for the shadow fails the ALLOC and pins nothing", () => {
  const kit = new GuestKit({ heap: onePage });
  kit.suspend(rpc(SMC_RETURN.RPC_ALLOC, 160));
  const page = kit.page();
  kit.port.steps.push(finish(SMC_RETURN.OK));
  kit.resume(0, 0, page, 0, 0xc1);
  expect(kit.port.last.slice(1, 3)).toEqual([0, 0]);
  expect(kit.pins(page)).toBe(0);
  expect(kit.mediator.heapPages).toBe(0);
});

test("memory of the mediator that is no RAM is a mistake of who set it up, and said so", () => {
  const kit = new GuestKit({ heap: { base: 0x70_0000_0000, size: 4096 } });
  const at = kit.put({ cmd: 1 });
  expect(() => kit.call(at)).toThrow(
    new RangeError("the mediator's heap page at frame 117440512 is not RAM"),
  );
});

/** Every page that mediator or guest can have written: the mediator's first, the guest's first. */
function watched(kit: GuestKit): number[] {
  const heap = Array.from({ length: 24 }, (_, index) => HEAP.base + index * 4096);
  const guest = Array.from({ length: 64 }, (_, index) => kit.machine(RAM + index * 4096));
  return [...heap, ...guest];
}

/**
 * Runs `body`; addresses of bytes that the secure world finds changed at an SMC, or the guest at the
 * end, without any write having been reported.
 */
function unreported(kit: GuestKit, body: () => void): string[] {
  const pages = watched(kit);
  const snapshot = () => pages.map((page) => kit.port.sparse.peek(page as Pa, 4096));
  const recorder = new AccessRecorder();
  const missing: string[] = [];
  let before = snapshot();
  const check = (from = 0): void => {
    for (const [index, bytes] of snapshot().entries()) {
      const page = pages[index] ?? 0;
      if (page < from) continue;
      if (Buffer.compare(bytes, before[index] ?? bytes) === 0) continue;
      const times = recorder.timesPerByte(page as Pa, 4096, "write");
      for (const [offset, byte] of bytes.entries()) {
        if (byte !== before[index]?.[offset] && times[offset] === 0) {
          missing.push(`0x${(page + offset).toString(16)}`);
        }
      }
    }
  };
  const smc = kit.port.smc.bind(kit.port);
  kit.port.smc = (registers) => {
    check();
    smc(registers);
    before = snapshot();
    recorder.clear();
  };
  kit.port.sparse.probe = recorder.probe;
  body();
  check(GUESTS.base);
  return missing;
}

test("MED-121: a page that has all the pins it can have is no RPC argument page, and nothing is kept", () => {
  const kit = new GuestKit();
  const page = kit.page();
  const frame = kit.machine(page) / 4096;
  for (let count = 0; count < 65_535; count += 1) kit.mediator.frames.pin(frame);
  kit.suspend(rpc(SMC_RETURN.RPC_ALLOC, 160));
  kit.port.steps.push(finish(SMC_RETURN.OK));
  kit.resume(0, 0, page, 0, 0xc1);
  expect(kit.port.last.slice(1, 3)).toEqual([0, 0]);
  expect(kit.mediator.heapPages).toBe(0);
});

test.each(RULES)(
  "every byte that the mediator changes for others is reported as written (%s)",
  (rules) => {
    const kit = new GuestKit({ rules });
    // No page of the mediator's is zero, so that a zero is a change too.
    for (const page of watched(kit).slice(0, 24)) {
      kit.port.sparse.poke(page as Pa, new Uint8Array(4096).fill(0xa5));
    }
    expect(unreported(kit, () => everything(kit))).toEqual([]);
  },
);

test("the watch for unreported bytes sees one", () => {
  const kit = new GuestKit();
  const write = (): void => {
    const page = kit.port.sparse.view("normal", "mediator").page(HEAP.base as Pa);
    page?.set([1], 7);
    kit.smc([OPTEE_SMC.CALLS_UID]);
  };
  expect(unreported(kit, write)).toEqual([`0x${(HEAP.base + 7).toString(16)}`]);
  expect(new ScriptedPort().sparse.peek(HEAP.base as Pa, 1)).toEqual(Uint8Array.of(0));
});

test.each(RULES)(
  "between any two calls a guest may end without anything left of it (%s)",
  (rules) => {
    const kit = new GuestKit({ rules });
    everything(kit);
    kit.vm.destroy();
    expect(kit.mediator.heapPages).toBe(0);
    expect(kit.mediator.frames.pinnedFrames()).toBe(0);
    expect(() => kit.vm.conduit.memory.read(RAM as Ipa, 1)).toThrow(RangeError);
  },
);

test.each(RULES)(
  "memory whose pages are copies, as behind a wire, makes no difference (%s)",
  (rules) => {
    let copied: CopiedMemory | undefined;
    const port = new ScriptedPort(undefined, (memory) => (copied = new CopiedMemory(memory)));
    const smc = port.smc.bind(port);
    port.smc = (registers) => {
      copied?.forget();
      smc(registers);
      copied?.forget();
    };
    const [wired, plain] = [new GuestKit({ rules, port }), new GuestKit({ rules })];
    expect(everything(wired)).toEqual(everything(plain));
    expect(wired.port.seen).toEqual(plain.port.seen);
    for (let at = RAM + 16 * 4096; at < RAM + 64 * 4096; at += 4096) {
      const page = (kit: GuestKit) => kit.port.sparse.peek(kit.machine(at) as Pa, 4096);
      expect(Buffer.compare(page(wired), page(plain))).toBe(0);
    }
  },
);
