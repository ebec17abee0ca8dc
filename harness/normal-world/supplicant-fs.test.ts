import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../base/index.ts";
import { FS_OP, TEEC } from "../optee-abi/index.ts";
import { SupplicantFiles } from "./supplicant-fs.ts";
import type { ServiceParam } from "./supplicant-service.ts";
import { decoded, memory, name, nullMemory, text, value } from "./testkit/service.ts";

const ROOT = "/var/lib/tee";

class Files {
  readonly fs = new SupplicantFiles();
  readonly disk = this.fs.disk;

  open(operation: number, of: string): { ret: number; handle: number } {
    const handle = value(2);
    const ret = this.fs.serve([value(1, operation), name(of), handle]);
    return { ret, handle: Number(handle.a) };
  }

  create(of: string, contents = ""): number {
    const { ret, handle } = this.open(FS_OP.CREATE, of);
    if (ret !== 0) throw new Error(`CREATE ${of}: 0x${ret.toString(16)}`);
    if (contents !== "") this.write(handle, 0, contents);
    return handle;
  }

  write(handle: number, offset: number, of: string): number {
    return this.fs.serve([value(1, FS_OP.WRITE, handle, offset), memory(5, text(of))]);
  }

  read(handle: number, offset: number, length: number): { ret: number; text: string } {
    const target = memory(6, new Uint8Array(length));
    const ret = this.fs.serve([value(1, FS_OP.READ, handle, offset), target]);
    return { ret, text: decoded(target.bytes?.subarray(0, Number(target.b))) };
  }

  readdir(handle: number, room = 64): { ret: number; name: string; size: number } {
    const target = memory(6, new Uint8Array(room));
    const ret = this.fs.serve([value(1, FS_OP.READDIR, handle), target]);
    return { ret, name: decoded(target.bytes).split("\0")[0] ?? "", size: Number(target.b) };
  }

  rename(overwrite: number, from: string, to: string): number {
    return this.fs.serve([value(1, FS_OP.RENAME, overwrite), name(from), name(to)]);
  }

  simple(operation: number, b: number, c = 0): number {
    return this.fs.serve([value(1, operation, b, c)]);
  }

  remove(of: string): number {
    return this.fs.serve([value(1, FS_OP.REMOVE), name(of)]);
  }
}

const OK = TEEC.TEEC_SUCCESS;
const NOT_FOUND = TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const GENERIC = TEEC.TEEC_ERROR_GENERIC;

test("MSG-3.1.1: the root is made on first use; when that fails there is no storage", () => {
  const files = new Files();
  expect(files.disk.list(ROOT)).toBe(-2);
  files.simple(FS_OP.CLOSE, 77);
  expect(files.disk.list(ROOT)).toEqual([]);
  const blocked = new Files();
  blocked.disk.store("/var/lib", text("a file where a directory belongs"));
  expect(blocked.open(FS_OP.OPEN, "x").ret).toBe(TEEC.TEEC_ERROR_STORAGE_NOT_AVAILABLE);
  blocked.disk.unlink("/var/lib");
  expect(blocked.open(FS_OP.CREATE, "x").ret).toBe(OK);
});

test("MSG-3.1.1: unknown operations, wrong shapes and NULL buffers are BAD_PARAMETERS", () => {
  const { fs } = new Files();
  const shapes: ServiceParam[][] = [
    [],
    [name("x")],
    [value(1, 11)],
    [value(1, FS_OP.OPEN), name("x")],
    [value(1, FS_OP.OPEN), name("x"), value(1)],
    [value(1, FS_OP.CREATE), memory(6, new Uint8Array(2)), value(2)],
    [value(1, FS_OP.OPEN), nullMemory(5), value(2)],
    [value(1, FS_OP.OPEN), memory(5, text("no end")), value(2)],
    [value(1, FS_OP.CLOSE, 5), value(1)],
    [value(1, FS_OP.READ, 5), value(1)],
    [value(1, FS_OP.READ, 5), nullMemory(6, 10)],
    [value(1, FS_OP.WRITE, 5), nullMemory(5, 10)],
    [value(1, FS_OP.WRITE, 5), memory(6, text("x"))],
    [value(1, FS_OP.TRUNCATE, 5), value(1)],
    [value(1, FS_OP.REMOVE)],
    [value(1, FS_OP.RENAME), name("a")],
    [value(1, FS_OP.RENAME), name("a"), nullMemory(5)],
    [value(1, FS_OP.OPENDIR), name("a")],
    [value(1, FS_OP.CLOSEDIR, 0), value(1)],
    [value(1, FS_OP.READDIR, 0), nullMemory(6, 10)],
  ];
  expect(shapes.map((params) => fs.serve(params))).toEqual(shapes.map(() => BAD));
});

test("MSG-3.1.OPEN, MSG-3.1.2: opening what is not there, or a directory, is ITEM_NOT_FOUND", () => {
  const files = new Files();
  expect(files.open(FS_OP.OPEN, "/a").ret).toBe(NOT_FOUND);
  files.create("/dir/a", "hello");
  expect(files.open(FS_OP.OPEN, "dir").ret).toBe(NOT_FOUND);
  const { ret, handle } = files.open(FS_OP.OPEN, "dir/a");
  expect([ret, files.read(handle, 1, 3).text]).toEqual([OK, "ell"]);
  expect(files.disk.list(`${ROOT}/dir`)).toEqual(["a"]);
});

test("MSG-3.1.OPEN, MSG-3.1.2: on a read-only file system files are opened for reading", () => {
  const files = new Files();
  files.create("a", "hello");
  files.disk.readOnly = true;
  const { ret, handle } = files.open(FS_OP.OPEN, "a");
  expect([ret, files.read(handle, 0, 9).text]).toEqual([OK, "hello"]);
  expect(files.write(handle, 0, "x")).toBe(GENERIC);
  expect(files.open(FS_OP.CREATE, "b").ret).toBe(GENERIC);
});

test("MSG-3.1.CREATE, MSG-3.1.2: creating empties, and makes up to two directories", () => {
  const files = new Files();
  const handle = files.create("/a", "hello");
  files.create("/a");
  expect(files.read(handle, 0, 9)).toEqual({ ret: OK, text: "" });
  expect(files.open(FS_OP.CREATE, "one/two/file").ret).toBe(OK);
  expect(files.open(FS_OP.CREATE, "1/2/3/file").ret).toBe(NOT_FOUND);
  expect(files.disk.list(ROOT)).toEqual(["a", "one"]);
});

test("MSG-3.1.CREATE, MSG-3.1.2: directories that were made for nothing are taken away again", () => {
  const files = new Files();
  const long = "x".repeat(256);
  expect(files.open(FS_OP.CREATE, `one/two/${long}`).ret).toBe(GENERIC);
  expect(files.disk.list(ROOT)).toEqual([]);
  files.create("in-the-way", "a file");
  expect(files.open(FS_OP.CREATE, "in-the-way/two/file").ret).toBe(GENERIC);
  expect(files.disk.list(ROOT)).toEqual(["in-the-way"]);
});

test("MSG-3.1.2: a name longer than PATH_MAX less 4 is BAD_PARAMETERS", () => {
  const files = new Files();
  expect(files.open(FS_OP.OPEN, "n".repeat(4092)).ret).toBe(NOT_FOUND);
  expect(files.open(FS_OP.OPEN, "n".repeat(4093)).ret).toBe(BAD);
});

test("MSG-3.1.CLOSE: a descriptor is closed once, and its number is used again", () => {
  const files = new Files();
  const handle = files.create("a");
  expect(files.simple(FS_OP.CLOSE, handle)).toBe(OK);
  expect(files.simple(FS_OP.CLOSE, handle)).toBe(GENERIC);
  expect(files.read(handle, 0, 1).ret).toBe(GENERIC);
  expect(files.create("b")).toBe(handle);
});

test("MSG-3.1.READ, MSG-3.1.3: reading past the end gives fewer bytes with SUCCESS", () => {
  const files = new Files();
  const handle = files.create("f", "abcdef");
  expect(files.read(handle, 4, 100)).toEqual({ ret: OK, text: "ef" });
  expect(files.read(handle, 6, 100)).toEqual({ ret: OK, text: "" });
  expect(files.read(handle, 60, 100)).toEqual({ ret: OK, text: "" });
  expect(files.read(handle, 0, 0)).toEqual({ ret: OK, text: "" });
});

test("MSG-3.1.WRITE, MSG-3.1.3: writing extends a file, with zeros where nothing was written", () => {
  const files = new Files();
  const handle = files.create("f");
  expect(files.write(handle, 4, "xy")).toBe(OK);
  expect(files.read(handle, 0, 100)).toEqual({ ret: OK, text: "\0\0\0\0xy" });
});

test("MSG-3.1.3, MSG-3.1.4: a full disk is STORAGE_NO_SPACE, and what fitted was written", () => {
  const files = new Files();
  files.disk.capacity = 10;
  const handle = files.create("f");
  expect(files.write(handle, 0, "0123456789")).toBe(OK);
  expect(files.write(handle, 5, "abcdefghij")).toBe(TEEC.TEEC_ERROR_STORAGE_NO_SPACE);
  expect(files.read(handle, 0, 20).text).toBe("01234abcde");
});

test("MSG-3.1.TRUNCATE: a file gets the length that it is told", () => {
  const files = new Files();
  const handle = files.create("f", "abcdef");
  expect(files.simple(FS_OP.TRUNCATE, handle, 2)).toBe(OK);
  expect(files.read(handle, 0, 9).text).toBe("ab");
  expect(files.simple(FS_OP.TRUNCATE, handle, 4)).toBe(OK);
  expect(files.read(handle, 0, 9).text).toBe("ab\0\0");
  expect(files.simple(FS_OP.TRUNCATE, 77, 4)).toBe(GENERIC);
});

test("MSG-3.1.REMOVE, MSG-3.1.6: two empty directories above a removed file go with it, not more", () => {
  const files = new Files();
  files.create("keep/x");
  files.disk.mkdir(`${ROOT}/keep/a`);
  const handle = files.create("keep/a/b/file", "text");
  expect(files.remove("keep/a/b/file")).toBe(OK);
  expect(files.disk.list(`${ROOT}/keep`)).toEqual(["x"]);
  // Who has it open still reads it.
  expect(files.read(handle, 0, 9).text).toBe("text");
  expect(files.remove("keep/x")).toBe(OK);
  expect(files.disk.list(ROOT)).toEqual([]);
  files.create("top");
  expect(files.remove("top")).toBe(OK);
  expect(files.disk.list(ROOT)).toEqual([]);
  expect(files.remove("top")).toBe(NOT_FOUND);
});

test("MSG-3.1.4: whatever is neither a full disk nor a missing file is GENERIC", () => {
  const files = new Files();
  files.create("dir/x");
  expect(files.remove("dir")).toBe(GENERIC);
  expect(files.remove("dir/none")).toBe(NOT_FOUND);
  expect(files.remove("dir/x/y")).toBe(GENERIC);
});

test("MSG-3.1.RENAME, MSG-3.1.5: descriptors follow a file, and it replaces only when told to", () => {
  const files = new Files();
  const handle = files.create("old", "text");
  files.create("new");
  expect(files.rename(0, "old", "new")).toBe(TEEC.TEEC_ERROR_ACCESS_CONFLICT);
  expect(files.rename(1, "old", "new")).toBe(OK);
  expect(files.rename(1, "old", "other")).toBe(NOT_FOUND);
  expect(files.rename(0, "new", "no/such/place")).toBe(NOT_FOUND);
  expect(files.read(handle, 0, 9).text).toBe("text");
});

test("MSG-3.1.5: errors of renaming that have no code of their own are reported as SUCCESS", () => {
  const files = new Files();
  files.create("dir/x");
  files.create("file", "text");
  expect(files.rename(1, "file", "dir")).toBe(OK);
  expect(files.rename(1, "file", "dir/x/y")).toBe(OK);
  expect(decoded(files.disk.read(`${ROOT}/file`))).toBe("text");
});

test("MSG-3.1.OPENDIR, MSG-3.1.7: what is missing, no directory or empty is ITEM_NOT_FOUND", () => {
  const files = new Files();
  files.create("file");
  files.create("dir/.hidden");
  for (const of of ["none", "file", "dir"]) {
    expect(files.open(FS_OP.OPENDIR, of).ret).toBe(NOT_FOUND);
  }
  files.create("dir/seen");
  expect(files.open(FS_OP.OPENDIR, "dir")).toEqual({ ret: OK, handle: 0 });
  expect(files.open(FS_OP.OPENDIR, "")).toEqual({ ret: OK, handle: 1 });
});

test("MSG-3.1.READDIR, MSG-3.1.7: names come in turn, hidden ones not, and the end is said", () => {
  const files = new Files();
  for (const file of ["dir/b", "dir/.hidden", "dir/a", "dir/c"]) files.create(file);
  const { handle } = files.open(FS_OP.OPENDIR, "dir");
  expect(files.readdir(handle, 2)).toEqual({ ret: OK, name: "a", size: 2 });
  // What does not fit is passed over: the caller is to open the directory again.
  expect(files.readdir(handle, 1)).toMatchObject({ ret: TEEC.TEEC_ERROR_SHORT_BUFFER, size: 2 });
  expect(files.readdir(handle)).toEqual({ ret: OK, name: "c", size: 2 });
  expect(files.readdir(handle).ret).toBe(NOT_FOUND);
  expect(files.readdir(9).ret).toBe(BAD);
});

test("MSG-3.1.CLOSEDIR: a handle is closed once", () => {
  const files = new Files();
  files.create("dir/a");
  const { handle } = files.open(FS_OP.OPENDIR, "dir");
  expect(files.simple(FS_OP.CLOSEDIR, handle)).toBe(OK);
  expect(files.simple(FS_OP.CLOSEDIR, handle)).toBe(BAD);
  expect(files.readdir(handle).ret).toBe(BAD);
});

test("MSG-3.1.WRITE, MSG-3.1.READ: any sequence of writes and truncations reads back as written", () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant("write" as const),
      at: fc.nat(40),
      bytes: fc.uint8Array({ maxLength: 20 }),
    }),
    fc.record({ kind: fc.constant("truncate" as const), at: fc.nat(40) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const files = new Files();
      const handle = files.create("f");
      let model: number[] = [];
      for (const one of steps) {
        if (one.kind === "truncate") {
          expect(files.simple(FS_OP.TRUNCATE, handle, one.at)).toBe(OK);
          model = Array.from({ length: one.at }, (_, index) => model[index] ?? 0);
        } else {
          const params = [value(1, FS_OP.WRITE, handle, one.at), memory(5, one.bytes)];
          expect(files.fs.serve(params)).toBe(OK);
          for (const [index, byte] of one.bytes.entries()) model[one.at + index] = byte;
          model = Array.from(model, (byte) => byte ?? 0);
        }
      }
      const target = memory(6, new Uint8Array(100));
      files.fs.serve([value(1, FS_OP.READ, handle), target]);
      const read = target.bytes?.subarray(0, Number(target.b)) ?? [];
      expect([...read]).toEqual(model);
    }),
    { numRuns: budget(200, 5000) },
  );
});
