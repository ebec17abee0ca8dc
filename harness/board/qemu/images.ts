import { access, constants } from "node:fs/promises";
import { BoardFileError } from "../../base/index.ts";
import type { BoardConfig, ImageFiles } from "../file/model.ts";
import type { PreparedFiles } from "../options.ts";

/** The files that a QEMU board boots: the board file's own over those of its reference image. */
export function bootFiles(config: BoardConfig, prepared: PreparedFiles | undefined): ImageFiles {
  const own = config.images;
  // A board file that brings firmware of its own in one form does not get the image's in the other.
  const firmware =
    own.bios === undefined && own.flash === undefined && prepared?.files.bios !== undefined
      ? { bios: prepared.files.bios }
      : {};
  const { kernel, initrd, hypervisor } = prepared?.files ?? {};
  const hypervisorAppend = prepared?.hypervisorAppend;
  return {
    ...firmware,
    ...(kernel === undefined ? {} : { kernel }),
    ...(initrd === undefined ? {} : { initrd }),
    ...(prepared?.append === undefined ? {} : { append: prepared.append }),
    ...(hypervisor === undefined ? {} : { hypervisor }),
    ...(hypervisorAppend === undefined ? {} : { hypervisorAppend }),
    ...own,
  };
}

/** Throws BoardFileError naming every file that is not there or not readable, and what makes it. */
export async function requireImages(config: BoardConfig, images: ImageFiles): Promise<void> {
  const prepare =
    config.image === undefined
      ? `Correct the images section of ${config.file}.`
      : `Run \`lockstep prepare ${config.name}\`, or name files of your own in the images section of ${config.file}.`;
  const { append: _, hypervisorAppend: _words, ...files } = images;
  if (files.bios === undefined && files.flash === undefined && files.kernel === undefined) {
    throw new BoardFileError(`board ${config.name} has nothing to boot`, {
      where: config.file,
      expected: "a bios, flash or kernel image",
      next: prepare,
    });
  }
  const missing: string[] = [];
  for (const [role, file] of Object.entries(files)) {
    try {
      await access(file, constants.R_OK);
    } catch {
      missing.push(`${role} ${file}`);
    }
  }
  if (missing.length > 0) {
    throw new BoardFileError(`board ${config.name} cannot boot: image files are missing`, {
      where: config.file,
      seen: `cannot read ${missing.join(", ")}`,
      next: prepare,
    });
  }
}
