import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { describeError, InfrastructureError } from "../base/index.ts";
import { installLine, missingTools, missingToolsFor, requireTools } from "./tools.ts";

test("everything that is missing is reported at once, with one line that installs it", async () => {
  const bin = await mkdtemp(path.join(tmpdir(), "lockstep-bin-"));
  try {
    for (const tool of ["make", "gcc", "tar", "xz"]) {
      await writeFile(path.join(bin, tool), "");
      await chmod(path.join(bin, tool), 0o755);
    }
    const missing = await missingTools({ PATH: bin });
    const names = missing.map(({ tool }) => tool);
    expect(names).toEqual(expect.arrayContaining(["apt-get", "aarch64-linux-gnu-gcc", "dpkg-deb"]));
    expect(names).not.toContain("make");
    expect(installLine(missing)).toMatch(
      /^sudo apt-get install --yes --no-install-recommends (?:[a-z0-9-]+ ?)+$/,
    );
    expect(installLine(missing).match(/\bapt\b/g)).toHaveLength(2);
    const error = await requireTools({ PATH: bin }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InfrastructureError);
    const text = describeError(error);
    for (const { tool } of missing) expect(text).toContain(tool);
    expect(text).toContain(`Install it with: ${installLine(missing)}`);
  } finally {
    await rm(bin, { recursive: true });
  }
});

test("only an image with a hypervisor needs the tools of its build", async () => {
  const nowhere = { PATH: "" };
  const namesFor = async (image: string): Promise<string[]> =>
    (await missingToolsFor(image, nowhere)).map(({ tool }) => tool);
  expect(await namesFor("qemu-xen")).toEqual(expect.arrayContaining(["flex", "bison", "python3"]));
  const plain = await namesFor("qemu-virt");
  expect(plain).toEqual((await missingTools(nowhere)).map(({ tool }) => tool));
  expect(plain).not.toContain("flex");
});

/** Packages that a host without any of them would need for an image. */
async function packagesFor(image: string): Promise<string[]> {
  const missing = await missingToolsFor(image, { PATH: "" }, "/nowhere");
  return missing.map(({ debianPackage }) => debianPackage);
}

test("only an image that builds OP-TEE needs what its scripts need", async () => {
  expect(await packagesFor("qemu-virt-rpmb")).toEqual(
    expect.arrayContaining(["python3", "python3-cryptography", "python3-pyelftools"]),
  );
  expect(await packagesFor("qemu-virt")).not.toContain("python3-pyelftools");
});

test("a file that is there but not executable is no tool", async () => {
  const bin = await mkdtemp(path.join(tmpdir(), "lockstep-bin-"));
  try {
    await writeFile(path.join(bin, "make"), "");
    await chmod(path.join(bin, "make"), 0o644);
    const names = (await missingTools({ PATH: bin })).map(({ tool }) => tool);
    expect(names).toContain("make");
  } finally {
    await rm(bin, { recursive: true });
  }
});
