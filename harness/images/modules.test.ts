import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { InfrastructureError } from "../base/index.ts";
import { readElf } from "./elf.ts";
import { dependsOf, modulesOf, resolveModules } from "./modules.ts";

function section(name: number, type: number, offset: number, size: number): Buffer {
  const out = Buffer.alloc(64);
  out.writeUInt32LE(name, 0);
  out.writeUInt32LE(type, 4);
  out.writeBigUInt64LE(BigInt(offset), 24);
  out.writeBigUInt64LE(BigInt(size), 32);
  return out;
}

/** A 64-bit ELF file with a `.modinfo` section and nothing else. */
function moduleWith(modinfo: readonly string[]): Buffer {
  const names = Buffer.from("\0.modinfo\0.shstrtab\0", "latin1");
  const info = Buffer.from(modinfo.map((text) => `${text}\0`).join(""), "latin1");
  const header = Buffer.alloc(64);
  header.writeUInt32BE(0x7f454c46, 0);
  header.set([2, 1, 1], 4);
  header.writeBigUInt64LE(BigInt(64 + names.length + info.length), 40);
  header.writeUInt16LE(64, 58);
  header.writeUInt16LE(3, 60);
  header.writeUInt16LE(2, 62);
  return Buffer.concat([
    header,
    names,
    info,
    Buffer.alloc(64),
    section(1, 1, 64 + names.length, info.length),
    section(10, 3, 64, names.length),
  ]);
}

function sourceOf(depends: Readonly<Record<string, string>>, builtin: readonly string[] = []) {
  return {
    has: (name: string) => name in depends,
    isBuiltin: (name: string) => builtin.includes(name),
    read: async (name: string) =>
      await Promise.resolve(moduleWith(["license=GPL", `depends=${depends[name] ?? ""}`])),
  };
}

test("modules come after those that they need, each once, built-in ones not at all", async () => {
  const source = sourceOf(
    {
      virtio_net: "net_failover,virtio",
      net_failover: "failover",
      failover: "",
      optee: "tee",
      tee: "",
    },
    ["virtio"],
  );
  const modules = await resolveModules(["virtio-net", "optee", "tee"], source);
  expect(modules.map(({ name }) => name)).toEqual([
    "failover",
    "net_failover",
    "virtio_net",
    "tee",
    "optee",
  ]);
});

test("a missing module is named with those that need it", async () => {
  const error = await resolveModules(["a"], sourceOf({ a: "b", b: "nowhere" })).catch(
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(InfrastructureError);
  expect(error).toMatchObject({
    message: "the kernel package has no module nowhere",
    where: "needed by a → b",
  });
});

test("modules that need each other end in an error, not in a loop", async () => {
  await expect(resolveModules(["a"], sourceOf({ a: "b", b: "a" }))).rejects.toThrow("a → b → a");
});

test("an unpacked kernel package is read: file names, compression and built-in list", async () => {
  const root = await mkdtemp(path.join(tmpdir(), "lockstep-modules-"));
  try {
    const dir = path.join(root, "usr", "lib", "modules", "6.1-test");
    await mkdir(path.join(dir, "kernel", "drivers"), { recursive: true });
    await writeFile(path.join(dir, "modules.builtin"), "kernel/drivers/virtio-ring.ko\n");
    await writeFile(path.join(dir, "kernel", "drivers", "plain-one.ko"), moduleWith(["depends="]));
    await writeFile(path.join(dir, "kernel", "drivers", "packed.ko.xz"), "compressed");
    const source = await modulesOf(
      root,
      async () => await Promise.resolve(moduleWith(["depends=plain-one"])),
    );
    expect(source.isBuiltin("virtio_ring")).toBe(true);
    const modules = await resolveModules(["packed"], source);
    expect(modules.map(({ name }) => name)).toEqual(["plain_one", "packed"]);
  } finally {
    await rm(root, { recursive: true });
  }
});

test("no bytes make the ELF reader throw", () => {
  const good = moduleWith(["depends=x", "vermagic=6.1 SMP"]);
  expect(dependsOf(good)).toEqual(["x"]);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255))), (changes) => {
      const bytes = Buffer.from(good);
      for (const [at, value] of changes) bytes[at] = value;
      readElf(bytes);
      readElf(bytes.subarray(0, changes[0]?.[0] ?? 0));
    }),
  );
});
