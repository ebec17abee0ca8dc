import { readFile } from "node:fs/promises";
import path from "node:path";
import type { PreparedFiles } from "../options.ts";

/** Folder of a prepared reference image; board tests are skipped where it is not named. */
export const imageDir: string = process.env["LOCKSTEP_TEST_IMAGE"] ?? "";

/** The part of an image's manifest that a board needs. */
interface Manifest {
  readonly append: string;
  readonly ssh: { readonly hostKeyLine: string };
}

/** What the image in `imageDir` brings to a board. */
export async function referenceImage(): Promise<PreparedFiles> {
  const text = await readFile(path.join(imageDir, "manifest.json"), "utf8");
  const manifest = JSON.parse(text) as Manifest;
  return {
    files: {
      bios: path.join(imageDir, "firmware.bios"),
      kernel: path.join(imageDir, "Image"),
      initrd: path.join(imageDir, "initramfs.cpio.gz"),
    },
    append: manifest.append,
    ssh: {
      clientKeyFile: path.join(imageDir, "ssh", "client_ed25519"),
      hostKeyLine: manifest.ssh.hostKeyLine,
    },
  };
}
