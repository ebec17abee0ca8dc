import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import type { PreparedImage } from "./model.ts";
import { type ArchiveEntry, writeNewc } from "./newc.ts";
import { imageTas } from "./tas.ts";

const UUID = "5b9e0e40-2636-11e1-ad9e-0002a5d5c51b";
const OTHER = "cb3e5ba0-adf1-11e0-998b-0002a5d5c51b";
let dir = "";
let initrd = "";

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), "lockstep-tas-"));
  initrd = path.join(dir, "initramfs.cpio.gz");
});
afterEach(async () => {
  await rm(dir, { recursive: true });
});

const image = (): PreparedImage => ({ files: { initrd } }) as unknown as PreparedImage;
const file = (content: string): ArchiveEntry => ({
  kind: "file",
  mode: 0o644,
  content: Buffer.from(content),
});

test("every TA of an image is found by its UUID, and nothing else", async () => {
  const entries = new Map<string, ArchiveEntry>([
    ["/usr", { kind: "directory", mode: 0o755 }],
    [`/usr/lib/optee_armtz/${UUID}.ta`, file("one")],
    [`/usr/lib/optee_armtz/${OTHER}.ta`, file("second TA")],
    ["/usr/lib/optee_armtz/readme.ta", file("no TA")],
    [`/usr/lib/elsewhere/${UUID}.ta`, file("not there")],
    [`/usr/lib/optee_armtz/link-${UUID}.ta`, { kind: "link", target: "x" }],
  ]);
  await writeFile(initrd, gzipSync(writeNewc(entries, 0)));
  const found = await imageTas(image());
  expect([...found].map(([uuid, bytes]) => [uuid, Buffer.from(bytes).toString()])).toEqual([
    [UUID, "one"],
    [OTHER, "second TA"],
  ]);
});

test("an archive that ends early is an error of the laboratory", async () => {
  const whole = writeNewc(new Map([[`/optee_armtz/${UUID}.ta`, file("x".repeat(500))]]), 0);
  for (const length of [0, 50, 200, 400]) {
    await writeFile(initrd, gzipSync(whole.subarray(0, length)));
    await expect(imageTas(image())).rejects.toMatchObject({ exitCode: 3 });
  }
});
