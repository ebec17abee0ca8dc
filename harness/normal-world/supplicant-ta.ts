import { uuidText } from "../base/index.ts";
import { TEEC } from "../optee-abi/index.ts";
import { PARAM_ATTR } from "../tee-uapi/index.ts";
import type { FileSystem } from "./filesystem.ts";
import { isValue, type ServiceParam } from "./supplicant-service.ts";

/** Where TAs are: `taPath` as --ta-path, `taDir` as --ta-dir below each of the build's directories. */
export interface TaPathOptions {
  /** A list with colons, used as it is. */
  readonly taPath?: string;
  /** Not together with `taPath`. */
  readonly taDir?: string;
  /** What the supplicant was built with; a list with colons. */
  readonly loadPath?: string;
}

const DEFAULT_LOAD_PATH = "/lib";
const DEFAULT_TA_DIR = "optee_armtz";
/** Where a Debian image has its TAs. */
export const TA_DIRECTORY = `${DEFAULT_LOAD_PATH}/${DEFAULT_TA_DIR}`;

const split = (list: string): string[] => list.split(":").filter((part) => part !== "");

/** The directories that are searched, in order. Empty elements of a list are skipped (MSG-3.5). */
export function taDirectories(options: TaPathOptions = {}): readonly string[] {
  if (options.taPath !== undefined) return split(options.taPath);
  const { taDir = DEFAULT_TA_DIR, loadPath = DEFAULT_LOAD_PATH } = options;
  return split(loadPath).map((directory) => `${directory}/${taDir}`);
}

/** A TA's file: by its name of today, then by the deprecated one without the last dash. */
export function findTa(
  disk: FileSystem,
  directories: readonly string[],
  uuid: string,
): Uint8Array | undefined {
  for (const directory of directories) {
    for (const name of [uuid, uuid.replace(/-([^-]*)$/, "$1")]) {
      const file = disk.read(`${directory}/${name}.ta`);
      if (file !== undefined) return file;
    }
  }
  return undefined;
}

/** LOAD_TA. A NULL buffer asks for the size; a small one gets it with SHORT_BUFFER (MSG-3.5). */
export function loadTa(
  disk: FileSystem,
  directories: readonly string[],
  params: readonly ServiceParam[],
): number {
  const [name, target] = params;
  if (params.length !== 2 || name === undefined || !isValue(name) || !isUsable(target)) {
    return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  }
  const octets = new Uint8Array(16);
  const view = new DataView(octets.buffer);
  view.setBigUint64(0, name.a, true);
  view.setBigUint64(8, name.b, true);
  const file = findTa(disk, directories, uuidText(octets));
  if (file === undefined) return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
  target.b = BigInt(file.length);
  if (target.bytes === undefined) return TEEC.TEEC_SUCCESS;
  if (target.bytes.length < file.length) return TEEC.TEEC_ERROR_SHORT_BUFFER;
  target.bytes.set(file);
  return TEEC.TEEC_SUCCESS;
}

/**
 * A memory reference that some of the supplicant's services take: in range, and not NULL when it is
 * for input, whose size nobody would ask for.
 */
export function isUsable(param: ServiceParam | undefined): param is ServiceParam {
  if (param === undefined || param.outOfRange === true) return false;
  switch (param.attr) {
    case PARAM_ATTR.MEMREF_INPUT:
      return param.bytes !== undefined;
    case PARAM_ATTR.MEMREF_OUTPUT:
    case PARAM_ATTR.MEMREF_INOUT:
      return true;
    default:
      return false;
  }
}
