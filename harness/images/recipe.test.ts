import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { BoardFileError, packageRoot, UsageError } from "../base/index.ts";
import { imageNames, loadRecipe } from "./recipe.ts";

test("every recipe of the project loads, with all variables replaced", async () => {
  const names = await imageNames();
  expect(names).toContain("qemu-virt");
  for (const name of names) {
    const { recipe, sources } = await loadRecipe(name);
    expect(JSON.stringify(recipe)).not.toContain("${");
    expect(recipe.rootfs.files.every((file) => sources.has(file.source))).toBe(true);
  }
});

test("a recipe based on another differs from it only in what it says itself", async () => {
  const [plain, hyp] = await Promise.all([loadRecipe("qemu-virt"), loadRecipe("qemu-virt-hyp")]);
  expect(hyp.hash).not.toBe(plain.hash);
  const firmware = JSON.stringify(hyp.recipe.firmware).replaceAll("-virtualized", "");
  expect(firmware).toBe(JSON.stringify(plain.recipe.firmware));
  expect(hyp.recipe.packages).toEqual(plain.recipe.packages);
});

test("a hypervisor is part of the recipe that names one, and changes no other", async () => {
  const [hyp, xen] = await Promise.all([loadRecipe("qemu-virt-hyp"), loadRecipe("qemu-xen")]);
  expect(hyp.recipe).not.toHaveProperty("hypervisor");
  expect(xen.recipe.hypervisor).toMatchObject({ source: "xen", folder: "xen", result: "xen" });
  expect(xen.recipe.hypervisor?.config).toEqual(expect.arrayContaining(["CONFIG_OPTEE=y"]));
  expect(xen.recipe.firmware).toEqual(hyp.recipe.firmware);
  expect(xen.recipe.append).toContain("console=hvc0");
});

test("a list whose name ends with + is added to that of the recipe below", async () => {
  const [plain, rpmb] = await Promise.all([loadRecipe("qemu-virt"), loadRecipe("qemu-virt-rpmb")]);
  expect(rpmb.recipe.kernel.modules).toEqual([...plain.recipe.kernel.modules, "cuse"]);
  const { programs } = plain.recipe.rootfs;
  expect(rpmb.recipe.rootfs.programs.slice(0, programs.length)).toEqual(programs);
  expect(rpmb.recipe.rootfs.programs.at(-1)).toMatchObject({ library: true });
  expect(plain.recipe.rootfs.programs.some((program) => "library" in program)).toBe(false);
});

test("an unknown image is a usage error that names those there are", async () => {
  const error = await loadRecipe("../qemu-virt").catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(UsageError);
  expect(error).toMatchObject({ expected: expect.stringContaining("qemu-virt") as unknown });
});

test("a wrong recipe is refused with its file and what was expected", async () => {
  const dir = await mkdtemp(path.join(tmpdir(), "lockstep-recipes-"));
  try {
    const write = async (name: string, text: string): Promise<void> => {
      await mkdir(path.join(dir, name));
      await writeFile(path.join(dir, name, "recipe.yaml"), text);
    };
    await write("yaml", "a: [1");
    await write("list", "- a");
    await write("own-base", "base: own-base");
    await write("thin", "description: only this");
    for (const name of ["yaml", "list", "own-base", "thin"]) {
      const error = await loadRecipe(name, dir).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(BoardFileError);
      expect(error).toMatchObject({ where: path.join(dir, name, "recipe.yaml") });
    }
  } finally {
    await rm(dir, { recursive: true });
  }
});

test("the hash of a recipe follows its files", async () => {
  const dir = await mkdtemp(path.join(tmpdir(), "lockstep-recipes-"));
  try {
    await cp(path.join(packageRoot, "boards", "images"), dir, { recursive: true });
    const before = await loadRecipe("qemu-virt", dir);
    await writeFile(path.join(dir, "qemu-virt", "init"), "#!/bin/busybox sh\n");
    const after = await loadRecipe("qemu-virt", dir);
    expect(after.hash).not.toBe(before.hash);
  } finally {
    await rm(dir, { recursive: true });
  }
});

test("variables may name variables, but not themselves", async () => {
  const dir = await mkdtemp(path.join(tmpdir(), "lockstep-recipes-"));
  try {
    await cp(path.join(packageRoot, "boards", "images"), dir, { recursive: true });
    await mkdir(path.join(dir, "loop"));
    const text = "base: qemu-virt\nvariables:\n  bl32: a${optee}\n  optee: b${bl32}\n";
    await writeFile(path.join(dir, "loop", "recipe.yaml"), text);
    await expect(loadRecipe("loop", dir)).rejects.toMatchObject({
      expected: "a variable that does not contain itself",
    });
  } finally {
    await rm(dir, { recursive: true });
  }
});
