import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { InfrastructureError } from "../base/index.ts";
import { matching, RootFs } from "./rootfs.ts";

test("what packages put below a linked folder goes to the link's target", async () => {
  const root = await mkdtemp(path.join(tmpdir(), "lockstep-rootfs-"));
  try {
    await mkdir(path.join(root, "bin"));
    await mkdir(path.join(root, "usr", "share", "doc"), { recursive: true });
    await writeFile(path.join(root, "bin", "tool"), "x", { mode: 0o755 });
    await symlink("tool", path.join(root, "bin", "alias"));
    await writeFile(path.join(root, "usr", "share", "doc", "README"), "long");
    const tree = new RootFs({ "/bin": "usr/bin" });
    await tree.addTree(root, ["/usr/share"]);
    tree.file("/etc/deep/down/file", "text");
    const entries = [...tree.entries()].map(([name, entry]) => `${name} ${entry.kind}`);
    expect(entries).toEqual([
      "/bin link",
      "/etc directory",
      "/etc/deep directory",
      "/etc/deep/down directory",
      "/etc/deep/down/file file",
      "/usr directory",
      "/usr/bin directory",
      "/usr/bin/alias link",
      "/usr/bin/tool file",
    ]);
  } finally {
    await rm(root, { recursive: true });
  }
});

test("a pattern of the recipe that matches nothing is an error that names it", async () => {
  const root = await mkdtemp(path.join(tmpdir(), "lockstep-rootfs-"));
  try {
    await mkdir(path.join(root, "ta"));
    await writeFile(path.join(root, "ta", "b.ta"), "");
    await writeFile(path.join(root, "ta", "a.ta"), "");
    await writeFile(path.join(root, "ta", "a.elf"), "");
    const names = (await matching(root, "/ta/*.ta")).map((file) => path.basename(file));
    expect(names).toEqual(["a.ta", "b.ta"]);
    await expect(matching(root, "/ta/*.tar")).rejects.toThrow(InfrastructureError);
  } finally {
    await rm(root, { recursive: true });
  }
});
