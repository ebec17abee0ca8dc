import path from "node:path";
import { expect, jest, test } from "@jest/globals";
import { ADDER, adderBackEnd } from "../docs/examples/adder-tee.ts";
import { differences } from "../docs/examples/from-a-program.ts";
import { packageRoot } from "../harness/base/index.ts";
import { type Pa, Registers, SparseMemory } from "../harness/machine/index.ts";
import { createMediator, opteeBackEnd } from "../harness/mediator/index.ts";
import { loadOwnTarget } from "../harness/platform/index.ts";

jest.setTimeout(120_000);

const example = (name: string): string =>
  path.join(packageRoot, "dist", "docs", "examples", `${name}.js`);

test("docs/examples/adder-tee: OP-TEE behind a mediator with another back end is as ever", async () => {
  const own = await loadOwnTarget(example("adder-tee"), "/");
  const references = ["mediator/guests#twoGuests", "normal-world/parameters#temporaryMemref"];
  expect(await differences(own, references)).toEqual([]);
});

test("docs/examples/from-a-program: what differs on a mediator of one's own", async () => {
  const references = ["refusals#duplicateCookie", "refusals#foreignPages", "guests#twoGuests"];
  const found = await differences(
    await loadOwnTarget(example("direct-mapped"), "/"),
    references.map((name) => `mediator/${name}`),
  );
  expect(found.map(({ reference }) => reference)).toEqual([
    "mediator/refusals#duplicateCookie",
    "mediator/refusals#foreignPages",
  ]);
});

const HEAP = { base: 0x10_0000_0000, size: 0x10_0000 };
const GUESTS = { base: 0x20_0000_0000, size: 0x100_0000 };

test("docs/examples/adder-tee: where its TEE answers, the back end serves its owner and pins what it uses", () => {
  const memory = new SparseMemory([
    { name: "heap", type: "ram", ...HEAP },
    { name: "guests", type: "ram", ...GUESTS },
  ]);
  const world = memory.view("normal", "secure");
  let pinned = -1;
  const port = {
    memory: memory.view("normal", "host"),
    smc: (registers: Registers): void => {
      if (registers.get(0) === ADDER.PROBE) registers.set(0, ADDER.MAGIC);
      else if (registers.get(0) === ADDER.SUM) {
        pinned = mediator.frames.pinnedFrames();
        const bytes = world.read(registers.pair(1) as Pa, registers.get(3));
        registers.set(0, 0);
        registers.set(
          1,
          bytes.reduce((sum, byte) => sum + byte, 0),
        );
      } else registers.setAllOnes(0);
    },
  };
  const mediator = createMediator(port, {
    heap: HEAP,
    guests: [GUESTS],
    backEnds: [opteeBackEnd, adderBackEnd],
  });
  expect(mediator.tee).toBe("adder");
  const made = mediator.createVm({ ram: { base: 0x4000_0000, size: 0x10_0000 } });
  if (!made.ok) throw new Error(made.reason);
  const { conduit } = made.value;
  conduit.memory.write(conduit.ram.base, Uint8Array.of(1, 2, 3, 4));
  const sum = (at: number, count: number): number[] => {
    const registers = new Registers([ADDER.SUM, 0, at, count]);
    conduit.smc(registers);
    return [registers.get(0), registers.get(1)];
  };
  expect(sum(conduit.ram.base, 4)).toEqual([0, 10]);
  expect([pinned, mediator.frames.pinnedFrames()]).toEqual([1, 0]);
  // Not the VM's memory, and more than its page.
  expect(sum(0x9000_0000, 4)[0]).toBe(4);
  expect(sum(conduit.ram.base, 4097)[0]).toBe(4);
  // OP-TEE's owner range is nobody's here.
  const other = new Registers([0xb200_0001]);
  conduit.smc(other);
  expect(other.get(0)).toBe(0xffff_ffff);
});
