import { expect, test } from "@jest/globals";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { type BoardConfig, loadBoard } from "../../board/index.ts";
import type { PreparedImage } from "../../images/index.ts";
import { boardFacts } from "./facts.ts";

const PREPARED = {
  files: { bios: "/i/firmware.bios", kernel: "/i/Image", initrd: "/i/initramfs.cpio.gz" },
  packages: { "optee-test-qemu": "4.5.0-1", "optee-os": "4.5.0-2" },
  sha256: { "firmware.bios": "aa", Image: "bb", "initramfs.cpio.gz": "cc" },
  manifest: { packages: [{ name: "optee-os", sha256: "dd" }] },
} as unknown as PreparedImage;

async function qemuVirt(images: BoardConfig["images"]): Promise<BoardConfig> {
  return { ...(await loadBoard("qemu-virt", { env: {}, cwd: tmpdir() })), images };
}

test("a board that boots the whole reference image has its packages and hashes on the sheet", async () => {
  const facts = await boardFacts(await qemuVirt({}), undefined, PREPARED);
  expect(facts).toMatchObject({
    versions: { xtest: "4.5.0-1" },
    images: { "firmware.bios": "aa", Image: "bb", "initramfs.cpio.gz": "cc" },
    packages: PREPARED.packages,
    packageHashes: { "optee-os": "dd" },
    huk: "unknown",
    rpmb: "unknown",
  });
});

test("what a board file brings itself is hashed, and the image's packages are not claimed", async () => {
  const dir = mkdtempSync(path.join(tmpdir(), "lockstep-facts-"));
  try {
    const initrd = path.join(dir, "rootfs.cpio.gz");
    writeFileSync(initrd, "own");
    const facts = await boardFacts(await qemuVirt({ initrd }), undefined, PREPARED);
    const own = createHash("sha256").update("own").digest("hex");
    expect(facts.images).toEqual({ "firmware.bios": "aa", Image: "bb", initrd: own });
    expect(facts.packages).toEqual({});
    expect(facts.versions).toEqual({});
    expect(facts.packageHashes).toBeUndefined();
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});

test("a hypervisor's command line is no file, and one of the board's own takes the place of the image's", async () => {
  const dir = mkdtempSync(path.join(tmpdir(), "lockstep-facts-"));
  try {
    const withXen = {
      ...PREPARED,
      files: { ...PREPARED.files, hypervisor: "/i/xen" },
      sha256: { ...PREPARED.sha256, xen: "ee" },
    };
    const words = await qemuVirt({ hypervisorAppend: "console=dtuart" });
    expect((await boardFacts(words, undefined, withXen)).images).toEqual(withXen.sha256);
    const hypervisor = path.join(dir, "xen");
    writeFileSync(hypervisor, "own");
    const facts = await boardFacts(await qemuVirt({ hypervisor }), undefined, withXen);
    const own = createHash("sha256").update("own").digest("hex");
    expect(facts.images).toEqual({ ...PREPARED.sha256, hypervisor: own });
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
