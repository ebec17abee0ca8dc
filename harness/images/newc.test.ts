import { spawnSync } from "node:child_process";
import { expect, jest, test } from "@jest/globals";
import * as fc from "fast-check";
import { type ArchiveEntry, writeNewc } from "./newc.ts";

// Programs are started here; a loaded machine takes its time.
jest.setTimeout(60_000);

const cpio = spawnSync("cpio", ["--version"]).status === 0;
const withCpio = cpio ? test : test.skip;
const why = cpio ? "" : " (skipped: no cpio on this host)";

const sample = new Map<string, ArchiveEntry>([
  ["/bin", { kind: "link", target: "usr/bin" }],
  ["/dev", { kind: "directory", mode: 0o755 }],
  ["/dev/console", { kind: "character-device", mode: 0o600, major: 5, minor: 1 }],
  ["/init", { kind: "file", mode: 0o755, content: Buffer.from("#!/bin/sh\n") }],
]);

test("an archive of one file is the bytes that the format says", () => {
  const entries = new Map<string, ArchiveEntry>([
    ["/a", { kind: "file", mode: 0o644, content: Buffer.from("hi!\n\n") }],
  ]);
  const text = writeNewc(entries, 0x5e0be100).toString("latin1");
  const header = [
    "070701",
    "00000001", // inode
    "000081a4", // regular file, 0644
    "00000000", // uid
    "00000000", // gid
    "00000001", // links
    "5e0be100", // mtime
    "00000005", // size
    "00000000",
    "00000000",
    "00000000",
    "00000000",
    "00000002", // name with its NUL
    "00000000",
  ].join("");
  expect(text.slice(0, 112)).toBe(header + "a\0");
  expect(text.slice(112, 120)).toBe("hi!\n\n\0\0\0");
  expect(text.slice(120, 126)).toBe("070701");
  expect(text.slice(120 + 110, 120 + 121)).toBe("TRAILER!!!\0");
  expect(text.length % 512).toBe(0);
});

withCpio(`cpio lists owner, modes, link target and device numbers as they were given${why}`, () => {
  const result = spawnSync("cpio", ["--list", "--verbose", "--numeric-uid-gid", "--quiet"], {
    input: writeNewc(sample, 0),
    env: { ...process.env, LC_ALL: "C", TZ: "UTC" },
    encoding: "utf8",
  });
  expect(result.status).toBe(0);
  const lines = result.stdout
    .trim()
    .split("\n")
    .map((line) => line.replaceAll(/\s+/g, " "));
  expect(lines).toEqual([
    "lrwxrwxrwx 1 0 0 7 Jan 1 1970 bin -> usr/bin",
    "drwxr-xr-x 2 0 0 0 Jan 1 1970 dev",
    "crw------- 1 0 0 5, 1 Jan 1 1970 dev/console",
    "-rwxr-xr-x 1 0 0 10 Jan 1 1970 init",
  ]);
});

withCpio(`whatever the files hold, cpio gives it back${why}`, () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.uint8Array({ maxLength: 9 }), (a, b) => {
      const entries = new Map<string, ArchiveEntry>([
        ["/a", { kind: "file", mode: 0o600, content: a }],
        ["/bb", { kind: "file", mode: 0o600, content: b }],
      ]);
      const archive = writeNewc(entries, 1);
      for (const [name, content] of [["a", a] as const, ["bb", b] as const]) {
        const result = spawnSync("cpio", ["--extract", "--to-stdout", "--quiet", name], {
          input: archive,
        });
        expect(Buffer.compare(result.stdout, content)).toBe(0);
      }
    }),
    { numRuns: 12 },
  );
});

test("what the format cannot hold is refused", () => {
  const file: ArchiveEntry = { kind: "file", mode: 0o644, content: Buffer.alloc(0) };
  expect(() => writeNewc(new Map([["relative", file]]), 0)).toThrow(RangeError);
  expect(() => writeNewc(new Map([[`/${"x".repeat(5000)}`, file]]), 0)).toThrow(RangeError);
});
