import { expect, test } from "@jest/globals";
import { TEEC } from "../optee-abi/index.ts";
import {
  EmmcRpmb,
  encodeFrames,
  encodeRequestHeader,
  FRAME,
  numberOf,
  RPMB_REQ_CMD,
  RPMB_REQUEST,
  RPMB_RESPONSE,
  RPMB_RESULT,
  SUPPLICANT_CID,
} from "../rpmb/index.ts";
import { FileSystem } from "./filesystem.ts";
import { invokePlugin, type SupplicantPlugin } from "./supplicant-plugin.ts";
import { storeProfile } from "./supplicant-profile.ts";
import { SupplicantRpmbService } from "./supplicant-rpmb.ts";
import type { ServiceParam } from "./supplicant-service.ts";
import { loadTa, taDirectories } from "./supplicant-ta.ts";
import { decoded, memory, nullMemory, text, value } from "./testkit/service.ts";

const OK = TEEC.TEEC_SUCCESS;
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const NOT_FOUND = TEEC.TEEC_ERROR_ITEM_NOT_FOUND;

const UUID = "00112233-4455-6677-8899-aabbccddeeff";
/** The UUID's octets as LOAD_TA carries them. */
const UUID_VALUE = value(1, 0x7766_5544_3322_1100n, 0xffee_ddcc_bbaa_9988n);

function load(disk: FileSystem, target: ServiceParam, directories = taDirectories()) {
  const ret = loadTa(disk, directories, [UUID_VALUE, target]);
  return { ret, size: Number(target.b), text: decoded(target.bytes) };
}

test("MSG-3.5.LOAD_TA, MSG-3.LOAD_TA: a NULL buffer asks for the size, a small one learns it, a large one gets the TA", () => {
  const disk = new FileSystem();
  disk.store(`/lib/optee_armtz/${UUID}.ta`, text("a TA"));
  expect(load(disk, nullMemory(6))).toMatchObject({ ret: OK, size: 4 });
  expect(load(disk, memory(6, new Uint8Array(3)))).toMatchObject({
    ret: TEEC.TEEC_ERROR_SHORT_BUFFER,
    size: 4,
    text: "\0\0\0",
  });
  expect(load(disk, memory(6, new Uint8Array(4)))).toEqual({ ret: OK, size: 4, text: "a TA" });
  expect(load(disk, memory(6, new Uint8Array(6)))).toMatchObject({ ret: OK, size: 4 });
});

test("MSG-3.5.LOAD_TA: the deprecated name lacks the last dash and is tried second", () => {
  const disk = new FileSystem();
  disk.store("/lib/optee_armtz/00112233-4455-6677-8899aabbccddeeff.ta", text("old"));
  expect(load(disk, memory(6, new Uint8Array(3))).text).toBe("old");
  disk.store(`/lib/optee_armtz/${UUID}.ta`, text("new"));
  expect(load(disk, memory(6, new Uint8Array(3))).text).toBe("new");
});

test("MSG-3.5.LOAD_TA: directories come from --ta-path as it is, or from --ta-dir below the built-in list", () => {
  expect(taDirectories()).toEqual(["/lib/optee_armtz"]);
  expect(taDirectories({ taDir: "tas" })).toEqual(["/lib/tas"]);
  expect(taDirectories({ loadPath: "/lib:/usr/lib" })).toEqual([
    "/lib/optee_armtz",
    "/usr/lib/optee_armtz",
  ]);
  expect(taDirectories({ taPath: "/a:/b/c:" })).toEqual(["/a", "/b/c"]);
  const disk = new FileSystem();
  disk.store(`/second/${UUID}.ta`, text("2"));
  const directories = taDirectories({ taPath: "/first:/second" });
  expect(load(disk, memory(6, new Uint8Array(1)), directories).text).toBe("2");
  disk.store(`/first/${UUID}.ta`, text("1"));
  expect(load(disk, memory(6, new Uint8Array(1)), directories).text).toBe("1");
  expect(load(disk, memory(6, new Uint8Array(1))).ret).toBe(NOT_FOUND);
});

test("MSG-3.5.LOAD_TA: other shapes are BAD_PARAMETERS", () => {
  const disk = new FileSystem();
  const shapes: ServiceParam[][] = [
    [],
    [UUID_VALUE],
    [nullMemory(6), nullMemory(6)],
    [UUID_VALUE, value(1)],
    [UUID_VALUE, nullMemory(5)],
    [UUID_VALUE, { ...nullMemory(6), outOfRange: true }],
    [UUID_VALUE, nullMemory(6), value(1)],
  ];
  expect(shapes.map((params) => loadTa(disk, taDirectories(), params))).toEqual(
    shapes.map(() => BAD),
  );
});

/** A plugin that writes its command, sub-command and the first byte into its data. */
const PLUGIN: SupplicantPlugin = {
  uuid: UUID,
  invoke: (command, subCommand, data) => {
    const [first = 0] = data;
    data.set([command, subCommand, first].slice(0, data.length));
    return { result: command === 9 ? 0x1234 : OK, outputLength: Math.min(3, data.length) };
  },
};

/** v0, v1, v2 and the data of a plugin call; d1 to d4 are little-endian words of the octets. */
const pluginCall = (command: number, subCommand: number, data: ServiceParam): ServiceParam[] => [
  value(1, 0, 0x3322_1100, 0x7766_5544),
  value(1, 0xbbaa_9988n, 0xffee_ddccn, command),
  value(3, subCommand, 77),
  data,
];

test("MSG-3.3.INVOKE, MSG-3.3.UUID, MSG-3.SUPP_PLUGIN: a plugin works on the data and says how much is output", () => {
  const params = pluginCall(5, 6, memory(7, Uint8Array.of(42, 0, 0, 0)));
  expect(invokePlugin([PLUGIN], params)).toBe(OK);
  expect([...(params[3]?.bytes ?? [])]).toEqual([5, 6, 42, 0]);
  expect([params[2]?.a, params[2]?.b]).toEqual([6n, 3n]);
  // Without data there is nothing to put out; a plugin's own code comes back.
  const empty = pluginCall(9, 6, nullMemory(7));
  expect([invokePlugin([PLUGIN], empty), empty[2]?.b]).toEqual([0x1234, 0n]);
});

test("MSG-3.3.REFUSALS: unknown plugins, operations and shapes", () => {
  const call = (): ServiceParam[] => pluginCall(1, 2, memory(7, new Uint8Array(4)));
  expect(invokePlugin([], call())).toBe(NOT_FOUND);
  const [first, ...rest] = call();
  const other = { ...(first ?? value(1)), a: 1n };
  expect(invokePlugin([PLUGIN], [other, ...rest])).toBe(TEEC.TEEC_ERROR_NOT_SUPPORTED);
  const bad: ServiceParam[][] = [
    [],
    call().slice(0, 3),
    [...call(), value(1)],
    pluginCall(1, 2, memory(6, new Uint8Array(4))),
    pluginCall(1, 2, nullMemory(7, 4)),
    call().with(2, value(1)),
  ];
  expect(bad.map((params) => invokePlugin([PLUGIN], params))).toEqual(bad.map(() => BAD));
});

const TEE_UUID = Uint8Array.from(Buffer.from("33221100554477668899aabbccddeeff", "hex"));

function profile(disk: FileSystem, prefix: "gmon" | "ftrace", id: number, data: string) {
  const params = [value(3, id), memory(5, TEE_UUID), memory(5, text(data))];
  const ret = storeProfile(disk, prefix, params);
  return { ret, id: Number(params[0]?.a) };
}

test("MSG-3.GPROF, MSG-3.FTRACE: file 0 is a new one, other ids append to theirs", () => {
  const disk = new FileSystem();
  disk.mkdir("/tmp");
  expect(profile(disk, "gmon", 0, "one")).toEqual({ ret: OK, id: 1 });
  expect(profile(disk, "gmon", 1, " more")).toEqual({ ret: OK, id: 1 });
  expect(profile(disk, "gmon", 0, "two")).toEqual({ ret: OK, id: 2 });
  expect(profile(disk, "ftrace", 0, "other")).toEqual({ ret: OK, id: 1 });
  expect(disk.list("/tmp")).toEqual([
    `ftrace-${UUID}.out`,
    `gmon-${UUID}.1.out`,
    `gmon-${UUID}.out`,
  ]);
  expect(decoded(disk.read(`/tmp/gmon-${UUID}.out`))).toBe("one more");
});

test("MSG-3.GPROF: ids of files that are not there are GENERIC, and so is a hundred and first file", () => {
  const disk = new FileSystem();
  disk.mkdir("/tmp");
  expect(profile(disk, "gmon", 3, "x").ret).toBe(TEEC.TEEC_ERROR_GENERIC);
  for (let file = 1; file <= 100; file += 1) expect(profile(disk, "gmon", 0, "x").id).toBe(file);
  expect(profile(disk, "gmon", 0, "x").ret).toBe(TEEC.TEEC_ERROR_GENERIC);
  expect(profile(disk, "gmon", 101, "x").ret).toBe(BAD);
  const wrong = [value(3, 0), memory(5, new Uint8Array(15)), memory(5, text("x"))];
  expect(storeProfile(disk, "gmon", wrong)).toBe(BAD);
  expect(storeProfile(disk, "gmon", [value(1), memory(5, TEE_UUID)])).toBe(BAD);
});

const COUNTER = encodeFrames({ type: RPMB_REQUEST.READ_COUNTER });

const request = (
  cmd: number,
  devId: number,
  frames: Uint8Array = new Uint8Array(0),
): ServiceParam => {
  const header = encodeRequestHeader({ cmd, devId, blockCount: 0 });
  return memory(5, Uint8Array.from([...header, ...frames]));
};

function serve(service: SupplicantRpmbService, asked: ServiceParam, room: number) {
  const answer = memory(6, new Uint8Array(room));
  return { ret: service.serve([asked, answer]), bytes: answer.bytes ?? new Uint8Array(0) };
}

test("MSG-3.RPMB, RPMB-6.2.CID, RPMB-6.2.SIZE, RPMB-6.2.REL_WR_SEC_C: without devices the supplicant emulates a card, which lives as long as it does", () => {
  const service = new SupplicantRpmbService();
  const info = serve(service, request(RPMB_REQ_CMD.GET_DEV_INFO, 0), 19);
  expect([info.ret, ...info.bytes]).toEqual([OK, ...SUPPLICANT_CID, 2, 1, 0]);
  const counter = serve(service, request(RPMB_REQ_CMD.DATA_REQ, 0, COUNTER), 512);
  expect(counter.ret).toBe(OK);
  expect(numberOf(counter.bytes, FRAME.type)).toBe(RPMB_RESPONSE.READ_COUNTER);
  expect(numberOf(counter.bytes, FRAME.result)).toBe(RPMB_RESULT.KEY_NOT_PROGRAMMED);
  const key = encodeFrames({ type: RPMB_REQUEST.PROGRAM_KEY, keyMac: new Uint8Array(32) });
  serve(service, request(RPMB_REQ_CMD.DATA_REQ, 0, key), 512);
  const result = (one: SupplicantRpmbService): number => {
    const { bytes } = serve(one, request(RPMB_REQ_CMD.DATA_REQ, 0, COUNTER), 512);
    return numberOf(bytes, FRAME.result);
  };
  expect([result(service), result(new SupplicantRpmbService())]).toEqual([
    RPMB_RESULT.OK,
    RPMB_RESULT.KEY_NOT_PROGRAMMED,
  ]);
});

const device = (last: number): EmmcRpmb =>
  new EmmcRpmb({ cid: new Uint8Array(16).fill(last), sizeMultiplier: last });

test("MSG-3.RPMB, RPMB-6.1.1, RPMB-4.DEV_ID: real devices are found by number, or all by the one CID that was asked for", () => {
  const devices = new Map([
    [0, device(1)],
    [2, device(3)],
  ]);
  const info = (service: SupplicantRpmbService, id: number): number[] => {
    const { ret, bytes } = serve(service, request(RPMB_REQ_CMD.GET_DEV_INFO, id), 19);
    return [ret, bytes[16] ?? 0];
  };
  const byNumber = new SupplicantRpmbService({ devices });
  expect([info(byNumber, 0), info(byNumber, 2), info(byNumber, 1)]).toEqual([
    [OK, 1],
    [OK, 3],
    [NOT_FOUND, 0],
  ]);
  expect(serve(byNumber, request(RPMB_REQ_CMD.DATA_REQ, 1, COUNTER), 512).ret).toBe(BAD);
  const byCid = new SupplicantRpmbService({ devices, cid: new Uint8Array(16).fill(3) });
  expect(info(byCid, 0)).toEqual([OK, 3]);
  const byNone = new SupplicantRpmbService({ devices, cid: new Uint8Array(16).fill(4) });
  expect(info(byNone, 0)).toEqual([NOT_FOUND, 0]);
});

test("MSG-3.RPMB, RPMB-2.1.1, RPMB-6.1.2, RPMB-6.1.3, RPMB-6.1.4: sizes, commands and types that the supplicant refuses", () => {
  const service = new SupplicantRpmbService();
  const data = (frames: Uint8Array, room: number): number =>
    serve(service, request(RPMB_REQ_CMD.DATA_REQ, 0, frames), room).ret;
  expect(serve(service, memory(5, new Uint8Array(5)), 19).ret).toBe(BAD);
  expect(serve(service, request(2, 0), 19).ret).toBe(BAD);
  expect(serve(service, request(RPMB_REQ_CMD.GET_DEV_INFO, 0), 18).ret).toBe(BAD);
  expect(serve(service, request(RPMB_REQ_CMD.GET_DEV_INFO, 0, new Uint8Array(1)), 19).ret).toBe(
    BAD,
  );
  expect(data(COUNTER, 1024)).toBe(BAD);
  // Several frames of one type are refused: a defect of upstream that OP-TEE never meets.
  const write = { type: RPMB_REQUEST.WRITE_DATA };
  expect(data(encodeFrames(write, write), 512)).toBe(BAD);
  expect(data(encodeFrames(write), 1024)).toBe(BAD);
  expect(data(encodeFrames({ type: 0x99 }), 512)).toBe(TEEC.TEEC_ERROR_GENERIC);
  expect(service.serve([request(0, 0), nullMemory(5)])).toBe(BAD);
  expect(service.serve([nullMemory(5), memory(6, new Uint8Array(19))])).toBe(BAD);
  expect(service.serve([])).toBe(BAD);
});
