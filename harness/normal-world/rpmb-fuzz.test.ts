import { expect, jest, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../base/index.ts";
import { TEEC } from "../optee-abi/index.ts";
import {
  EmmcRpmb,
  encodeFrames,
  encodeRequestHeader,
  FRAME_SIZE,
  intoKey,
  SUPPLICANT_CID,
} from "../rpmb/index.ts";
import { SupplicantRpmbService } from "./supplicant-rpmb.ts";
import { memory, nullMemory, value } from "./testkit/service.ts";

jest.setTimeout(60_000);

const KEY = intoKey(new Uint8Array(32).fill(0x5a));
const part = (): EmmcRpmb => new EmmcRpmb({ cid: SUPPLICANT_CID, sizeMultiplier: 1, key: KEY });

/** Frames of every type, none of them authentic but by chance, and any bytes. */
const frames = fc.oneof(
  fc.uint8Array({ maxLength: 2 * FRAME_SIZE + 1, size: "max" }),
  fc
    .array(
      fc.record({
        type: fc.oneof(fc.nat(8), fc.nat(0xffff)),
        address: fc.oneof(fc.integer({ min: 508, max: 514 }), fc.nat(0xffff)),
        blockCount: fc.nat(3),
        writeCounter: fc.nat(1),
        keyMac: fc.uint8Array({ minLength: 32, maxLength: 32 }),
      }),
      { minLength: 1, maxLength: 3 },
    )
    .map((list) => encodeFrames(...list)),
);
const room = fc.oneof(
  fc.constantFrom(0, 1, 18, 19, 20, 511, 512, 513, 1024, 4096),
  fc.nat(3 * FRAME_SIZE),
);
const header = fc.record({
  cmd: fc.oneof(fc.nat(2), fc.nat(0xffff)),
  devId: fc.oneof(fc.nat(1), fc.nat(0xffff)),
  blockCount: fc.nat(0xffff),
});

function expectUntouched(device: EmmcRpmb): void {
  expect([device.writeCounter, device.secureWp]).toEqual([0, { enable: 0, config: 0 }]);
  expect(Buffer.from(device.image()).equals(Buffer.alloc(128 * 1024))).toBe(true);
}

const CODES: readonly number[] = [
  TEEC.TEEC_SUCCESS,
  TEEC.TEEC_ERROR_BAD_PARAMETERS,
  TEEC.TEEC_ERROR_GENERIC,
  TEEC.TEEC_ERROR_ITEM_NOT_FOUND,
];

test("RPMB-2.1.1, RPMB-6.1.4: any bytes as a legacy request are answered with a code, and change no part without its key", () => {
  const device = part();
  const services = [
    new SupplicantRpmbService({ devices: new Map([[0, device]]) }),
    new SupplicantRpmbService({ devices: new Map([[0, device]]), cid: SUPPLICANT_CID }),
    new SupplicantRpmbService(),
  ];
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc
      .tuple(header, frames)
      .map(([head, rest]) => Uint8Array.from([...encodeRequestHeader(head), ...rest])),
  );
  fc.assert(
    fc.property(bytes, room, fc.nat(2), fc.nat(9), (request, size, which, shape) => {
      const service = services[which];
      const answer = shape === 0 ? nullMemory(6) : memory(6, new Uint8Array(size));
      const first = shape === 1 ? value(1) : memory(5, request);
      const code = service?.serve(shape === 2 ? [first] : [first, answer]);
      expect(CODES).toContain(code);
    }),
    { numRuns: budget(400, 50_000) },
  );
  expectUntouched(device);
});
