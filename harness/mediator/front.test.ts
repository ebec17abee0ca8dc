import { expect, test } from "@jest/globals";
import { type Ipa, Registers } from "../machine/index.ts";
import { type TeeBackEnd, TeeFront, type VmMemory } from "./index.ts";

/** A VM's memory as a VMM in user space has it: bytes of its own process, no frames, no stage 2. */
class Buffer implements VmMemory {
  readonly bytes = new Uint8Array(8192);
  closed = false;
  read(at: Ipa, length: number): Uint8Array {
    return this.bytes.slice(at, at + length);
  }
  write(at: Ipa, bytes: Uint8Array): void {
    this.bytes.set(bytes, at);
  }
  page(at: Ipa): Uint8Array {
    return this.bytes.subarray(at, at + 4096);
  }
  dirty(): void {}
  close(): void {
    this.closed = true;
  }
}

/** What a VMM gives its back ends: the device of the host's TEE driver. */
interface Device {
  readonly calls: string[];
  readonly present: boolean;
}

const ADDER_OWNER = 48;
const ADD = 0xb000_0001;

/** A TEE with one call, of the owner range of trusted applications: a0 = a1 + a2 + its client. */
const adder: TeeBackEnd<Device, Buffer> = {
  name: "adder",
  owners: [ADDER_OWNER, ADDER_OWNER],
  guestNode: { path: "/firmware/adder", compatible: "example,adder", method: "smc" },
  probe: (device) => {
    if (!device.present) return undefined;
    return {
      announce: (id) => device.calls.push(`host ${id}`) > 0,
      createGuest: ({ clientId, space }) => {
        device.calls.push(`created ${clientId}`);
        if (clientId === 9) return { ok: false, error: "ENODEV", reason: "no more" };
        return {
          ok: true,
          value: {
            handle: (registers) => {
              if (registers.get(0) !== ADD) return false;
              registers.set(0, registers.get(1) + registers.get(2) + clientId);
              space.write(0 as Ipa, Uint8Array.of(clientId));
              return true;
            },
            destroy: () => device.calls.push(`destroyed ${clientId}`),
            usage: () => ({ calls: 0, suspended: 0, buffers: 0, pages: 0, rpcArguments: 0 }),
          },
        };
      },
    };
  },
};

const absent: TeeBackEnd<Device, Buffer> = { ...adder, name: "absent", probe: () => undefined };
const RAM = { ram: { base: 0x1000, size: 8192 } };

function front(
  device: Device,
  ids = { firstClientId: 7, hostClientId: 3, reuseClientIds: false },
): TeeFront<Device, Buffer> {
  return new TeeFront({ host: device, backEnds: [absent, adder], tee: undefined, ids });
}

test("MED-005, MED-007: a TEE of another owner range is served without a hypervisor behind it", () => {
  const device = { calls: [] as string[], present: true };
  const mediator = front(device);
  expect(mediator.tee).toBe("adder");
  const space = new Buffer();
  const made = mediator.createVm(RAM, () => ({ ok: true, value: space }));
  if (!made.ok) throw new Error(made.reason);
  const call = (...words: number[]): number => {
    const registers = new Registers(words);
    made.value.conduit.smc(registers);
    return registers.get(0);
  };
  expect(call(ADD, 20, 15)).toBe(42);
  expect(space.bytes[0]).toBe(7);
  // Another function of the owner, and another owner with the same function.
  expect(call(0xb000_0002, 1, 1)).toBe(0xffff_ffff);
  expect(call(0xb200_0001, 1, 1)).toBe(0xffff_ffff);
  made.value.destroy();
  expect([call(ADD, 1, 1), space.closed]).toEqual([0xffff_ffff, true]);
  expect(device.calls).toEqual(["host 3", "created 7", "destroyed 7"]);
  expect(mediator.vms).toEqual([]);
});

test("memory that cannot be had costs no client id, and a TEE's refusal gives the memory back", () => {
  const device = { calls: [] as string[], present: true };
  const mediator = front(device, { firstClientId: 8, hostClientId: 0, reuseClientIds: false });
  const none = mediator.createVm(RAM, () => ({ ok: false, error: "ENOMEM", reason: "full" }));
  expect(none).toEqual({ ok: false, error: "ENOMEM", reason: "full" });
  const seen: number[] = [];
  const spaces = [new Buffer(), new Buffer(), new Buffer()];
  const results = spaces.map((value) =>
    mediator.createVm(RAM, (clientId) => {
      seen.push(clientId);
      return { ok: true, value };
    }),
  );
  expect(results.map(({ ok }) => ok)).toEqual([true, false, false]);
  expect(seen).toEqual([8, 9, 9]);
  expect(spaces.map(({ closed }) => closed)).toEqual([false, true, true]);
  expect(device.calls).toEqual(["created 8", "created 9", "created 9"]);
});

const make = (): { ok: true; value: Buffer } => ({ ok: true, value: new Buffer() });

test("without a TEE that answers, VMs have none or are refused", () => {
  const mediator = front({ calls: [], present: false });
  expect(mediator.tee).toBeUndefined();
  expect(mediator.createVm(RAM, make)).toMatchObject({ ok: false, error: "ENODEV" });
  const bare = mediator.createVm({ ...RAM, tee: "none" }, make);
  expect(bare).toMatchObject({ ok: true, value: { firmwareNode: undefined, usage: undefined } });
});
