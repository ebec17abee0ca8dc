import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { createPrivateFile, PrivateFile, readPrivateFile } from "./private-file.ts";

let dir = "";
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "lockstep-private-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const at = (name: string): string => path.join(dir, name);
const READ = { what: "the secret", limit: 16 };

test("a file has its name only when it is complete, and then it is its owner's alone", async () => {
  const out = await PrivateFile.create(at("f"));
  await out.write(Buffer.from("one "));
  await out.write(Buffer.from("two"));
  expect(readdirSync(dir)).toEqual([expect.stringMatching(/^f\..*\.part$/)]);
  await out.commit();
  await out.discard();
  expect(readdirSync(dir)).toEqual(["f"]);
  expect([readFileSync(at("f"), "utf8"), statSync(at("f")).mode & 0o777]).toEqual([
    "one two",
    0o600,
  ]);
});

test("what is discarded leaves nothing, and can be discarded again", async () => {
  const out = await PrivateFile.create(at("f"));
  await out.write(Buffer.from("half"));
  await out.discard();
  await out.discard();
  await out.commit();
  expect(readdirSync(dir)).toEqual([]);
});

test("what appears while it is written is not overwritten", async () => {
  const out = await PrivateFile.create(at("f"));
  await out.write(Buffer.from("ours"));
  writeFileSync(at("f"), "theirs");
  await expect(out.commit()).rejects.toThrow(/never overwritten/);
  await out.discard();
  expect([readdirSync(dir), readFileSync(at("f"), "utf8")]).toEqual([["f"], "theirs"]);
});

test("neither a link nor a left-over under the name that is written to is followed", async () => {
  const part = `f.${process.pid}.part`;
  writeFileSync(at("victim"), "untouched");
  symlinkSync(at("victim"), at(part));
  await createPrivateFile(at("f"), Buffer.from("ours"));
  expect(readFileSync(at("victim"), "utf8")).toBe("untouched");
  expect(readFileSync(at("f"), "utf8")).toBe("ours");
  symlinkSync(at("nowhere"), at("dangling"));
  await expect(createPrivateFile(at("dangling"), Buffer.from("x"))).rejects.toThrow(/exists/);
});

test("files are read up to their limit, and not when others may read them", async () => {
  writeFileSync(at("f"), "0123456789abcdef", { mode: 0o600 });
  expect((await readPrivateFile(at("f"), READ)).toString()).toBe("0123456789abcdef");
  await expect(readPrivateFile(at("f"), { ...READ, limit: 15 })).rejects.toThrow(/far too long/);
  for (const mode of [0o640, 0o602, 0o666]) {
    chmodSync(at("f"), mode);
    await expect(readPrivateFile(at("f"), READ)).rejects.toMatchObject({
      exitCode: 2,
      message: "the file with the secret is open to other users",
      seen: `mode 0${mode.toString(8)}`,
    });
  }
});

test("what is no plain file is read as it is", async () => {
  expect((await readPrivateFile("/dev/null", READ)).length).toBe(0);
  await expect(readPrivateFile("/dev/zero", READ)).rejects.toThrow(/far too long/);
});
