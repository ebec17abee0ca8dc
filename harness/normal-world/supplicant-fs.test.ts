import { expect, test } from "@jest/globals";
import { FS_OP, TEEC } from "../optee-abi/index.ts";
import { type ServiceParam, SupplicantFiles } from "./supplicant-fs.ts";

const text = (of: string): Uint8Array => new TextEncoder().encode(of);
const value = (attr: number, a = 0, b = 0, c = 0): ServiceParam => ({
  attr,
  a: BigInt(a),
  b: BigInt(b),
  c: BigInt(c),
  bytes: undefined,
});
const memory = (attr: number, bytes: Uint8Array): ServiceParam => ({
  attr,
  a: 0n,
  b: BigInt(bytes.length),
  c: 1n,
  bytes,
});
const name = (of: string): ServiceParam => memory(5, text(`${of}\0`));

class Files {
  readonly fs = new SupplicantFiles();

  open(operation: number, of: string): { ret: number; handle: number } {
    const handle = value(2);
    const ret = this.fs.serve([value(1, operation), name(of), handle]);
    return { ret, handle: Number(handle.a) };
  }

  write(handle: number, offset: number, of: string): number {
    return this.fs.serve([value(1, FS_OP.WRITE, handle, offset), memory(5, text(of))]);
  }

  read(handle: number, offset: number, length: number): { ret: number; text: string } {
    const target = memory(6, new Uint8Array(length));
    const ret = this.fs.serve([value(1, FS_OP.READ, handle, offset), target]);
    const bytes = target.bytes?.subarray(0, Number(target.b));
    return { ret, text: new TextDecoder().decode(bytes) };
  }
}

const NOT_FOUND = TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;

test("MSG-3.1.2: opening what is not there is ITEM_NOT_FOUND, creating empties", () => {
  const files = new Files();
  expect(files.open(FS_OP.OPEN, "/a").ret).toBe(NOT_FOUND);
  const { ret, handle } = files.open(FS_OP.CREATE, "/a");
  expect([ret, files.write(handle, 0, "hello")]).toEqual([0, 0]);
  expect(files.read(files.open(FS_OP.OPEN, "a").handle, 1, 3)).toEqual({ ret: 0, text: "ell" });
  files.open(FS_OP.CREATE, "/a");
  expect(files.read(handle, 0, 9)).toEqual({ ret: 0, text: "" });
});

test("MSG-3.1.3: reading past the end gives fewer bytes with success, writing extends", () => {
  const files = new Files();
  const { handle } = files.open(FS_OP.CREATE, "f");
  expect(files.write(handle, 4, "xy")).toBe(0);
  expect(files.read(handle, 0, 100)).toEqual({ ret: 0, text: "\0\0\0\0xy" });
  expect(files.read(handle, 5, 100)).toEqual({ ret: 0, text: "y" });
  expect(files.read(handle, 50, 100)).toEqual({ ret: 0, text: "" });
  expect(files.fs.serve([value(1, FS_OP.TRUNCATE, handle, 5)])).toBe(0);
  expect(files.read(handle, 4, 9).text).toBe("x");
});

test("MSG-3.1.4: a full disk is STORAGE_NO_SPACE and changes nothing", () => {
  const files = new Files();
  files.fs.capacity = 10;
  const { handle } = files.open(FS_OP.CREATE, "f");
  expect(files.write(handle, 0, "0123456789")).toBe(0);
  expect(files.write(handle, 5, "0123456789")).toBe(TEEC.TEEC_ERROR_STORAGE_NO_SPACE);
  expect(files.read(handle, 0, 20).text).toBe("0123456789");
});

test("MSG-3.1.5: renaming keeps handles, and replaces only when it is told to", () => {
  const files = new Files();
  const { handle } = files.open(FS_OP.CREATE, "old");
  files.write(handle, 0, "text");
  files.open(FS_OP.CREATE, "new");
  const rename = (overwrite: number, from: string, to: string): number =>
    files.fs.serve([value(1, FS_OP.RENAME, overwrite), name(from), name(to)]);
  expect(rename(0, "old", "new")).toBe(TEEC.TEEC_ERROR_ACCESS_CONFLICT);
  expect(rename(1, "old", "new")).toBe(0);
  expect(rename(1, "old", "other")).toBe(NOT_FOUND);
  expect(files.read(handle, 0, 9).text).toBe("text");
});

test("MSG-3.1.7: directories list names in turn, not those with a dot, and say when they end", () => {
  const files = new Files();
  expect(files.open(FS_OP.OPENDIR, "dir").ret).toBe(NOT_FOUND);
  for (const file of ["dir/b", "dir/.hidden", "dir/a", "dir/sub/c"]) files.open(FS_OP.CREATE, file);
  const { handle } = files.open(FS_OP.OPENDIR, "dir");
  const next = (room: number): [number, string] => {
    const target = memory(6, new Uint8Array(room));
    const ret = files.fs.serve([value(1, FS_OP.READDIR, handle), target]);
    return [ret, `${new TextDecoder().decode(target.bytes).split("\0")[0]}:${target.b}`];
  };
  expect(next(1)).toEqual([TEEC.TEEC_ERROR_SHORT_BUFFER, ":2"]);
  expect([next(9), next(9), next(9)]).toEqual([
    [0, "a:2"],
    [0, "b:2"],
    [0, "sub:4"],
  ]);
  expect(next(9)[0]).toBe(NOT_FOUND);
  expect(files.fs.serve([value(1, FS_OP.CLOSEDIR, handle)])).toBe(0);
  expect(files.fs.serve([value(1, FS_OP.CLOSEDIR, handle)])).toBe(BAD);
});

test("MSG-3.1.1: unknown operations and wrong parameters are BAD_PARAMETERS", () => {
  const files = new Files();
  const { fs } = files;
  expect(fs.serve([])).toBe(BAD);
  expect(fs.serve([value(2, FS_OP.OPEN)])).toBe(BAD);
  expect(fs.serve([value(1, 99)])).toBe(BAD);
  expect(fs.serve([value(1, FS_OP.OPEN), name("x")])).toBe(BAD);
  expect(fs.serve([value(1, FS_OP.OPEN), memory(5, text("no end")), value(2)])).toBe(BAD);
  expect(fs.serve([value(1, FS_OP.READ, 3), value(1)])).toBe(BAD);
  expect(fs.serve([value(1, FS_OP.REMOVE)])).toBe(BAD);
  expect(fs.serve([value(1, FS_OP.REMOVE), name("x")])).toBe(NOT_FOUND);
  expect(fs.serve([value(1, FS_OP.CLOSE, 77)])).toBe(TEEC.TEEC_ERROR_GENERIC);
});
