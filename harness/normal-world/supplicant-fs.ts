import { FS_OP, TEEC } from "../optee-abi/index.ts";
import { ERRNO, PARAM_ATTR } from "../tee-uapi/index.ts";
import { type FileNode, FileSystem } from "./filesystem.ts";
import { isValue, type ServiceParam, shapeIs } from "./supplicant-service.ts";

const { VALUE_INPUT, VALUE_OUTPUT, MEMREF_INPUT, MEMREF_OUTPUT } = PARAM_ATTR;
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const OK = TEEC.TEEC_SUCCESS;
/** PATH_MAX less the supplicant's "./" and what ends a string. */
const MAX_NAME = 4092;
/** Where the supplicant keeps the secure world's files, unless it is told otherwise. */
export const FS_PARENT_PATH = "/var/lib/tee";
/** First descriptor that the files of a running supplicant get. */
const FIRST_DESCRIPTOR = 5;

interface OpenFile {
  readonly file: FileNode;
  readonly writable: boolean;
}

interface Directory {
  readonly names: readonly string[];
  next: number;
}

/** One request as it was served: what was asked, and its result code. */
export interface FsRequest {
  /** An `FS_OP`. */
  readonly op: number;
  /** The name, for requests that have one, without the root. */
  readonly name?: string;
  /** The descriptor that was given, or named. */
  readonly handle: number;
  /** Byte offset; length for TRUNCATE. */
  readonly at: number;
  /** Bytes read or written. */
  readonly size: number;
  readonly result: number;
}

/** The supplicant's service for the secure world's files (MSG-3.1). */
export class SupplicantFiles {
  /** Sees every request once it is served. */
  trace: ((request: FsRequest) => void) | undefined;
  readonly disk: FileSystem;
  readonly #root: string;
  readonly #open = new Map<number, OpenFile>();
  readonly #directories = new Map<number, Directory>();
  #ready = false;

  constructor(disk: FileSystem = new FileSystem(), root: string = FS_PARENT_PATH) {
    this.disk = disk;
    this.#root = root;
  }

  /** Descriptors that the secure world has not closed. */
  get openFiles(): number {
    return this.#open.size;
  }

  /** Serves one FS request and gives its result code. */
  serve(params: readonly ServiceParam[]): number {
    const result = this.#serve(params);
    this.trace?.(describe(params, result));
    return result;
  }

  #serve(params: readonly ServiceParam[]): number {
    const [request] = params;
    if (request === undefined || !isValue(request)) return BAD;
    if (!this.#ready && !this.#makeRoot()) return TEEC.TEEC_ERROR_STORAGE_NOT_AVAILABLE;
    this.#ready = true;
    const handle = Number(BigInt.asIntN(32, request.b));
    const at = Number(request.c);
    switch (Number(request.a)) {
      case FS_OP.OPEN:
        return this.#withName(params, (path) => this.#openFile(path));
      case FS_OP.CREATE:
        return this.#withName(params, (path) => this.#create(path));
      case FS_OP.CLOSE:
        if (!shapeIs(params, VALUE_INPUT)) return BAD;
        return this.#open.delete(handle) ? OK : TEEC.TEEC_ERROR_GENERIC;
      case FS_OP.READ:
        return shapeIs(params, VALUE_INPUT, MEMREF_OUTPUT)
          ? this.#read(handle, at, params[1])
          : BAD;
      case FS_OP.WRITE:
        return shapeIs(params, VALUE_INPUT, MEMREF_INPUT)
          ? this.#write(handle, at, params[1]?.bytes)
          : BAD;
      case FS_OP.TRUNCATE:
        return shapeIs(params, VALUE_INPUT) ? this.#truncate(handle, at) : BAD;
      case FS_OP.REMOVE:
        return shapeIs(params, VALUE_INPUT, MEMREF_INPUT) ? this.#remove(params[1]) : BAD;
      case FS_OP.RENAME:
        return shapeIs(params, VALUE_INPUT, MEMREF_INPUT, MEMREF_INPUT)
          ? this.#rename(request.b !== 0n, this.#path(params[1]), this.#path(params[2]))
          : BAD;
      case FS_OP.OPENDIR:
        return this.#withName(params, (path) => this.#openDirectory(path));
      case FS_OP.CLOSEDIR:
        return shapeIs(params, VALUE_INPUT) && this.#directories.delete(handle) ? OK : BAD;
      case FS_OP.READDIR:
        return shapeIs(params, VALUE_INPUT, MEMREF_OUTPUT)
          ? this.#readDirectory(handle, params[1])
          : BAD;
      default:
        return BAD;
    }
  }

  /** Makes the root and what is above it; false when something is in the way. */
  #makeRoot(): boolean {
    const parts = this.#root.split("/").slice(1);
    for (const [index] of parts.entries()) {
      const made = this.disk.mkdir(`/${parts.slice(0, index + 1).join("/")}`);
      if (made !== 0 && made !== -ERRNO.EEXIST) return false;
    }
    return typeof this.disk.list(this.#root) !== "number";
  }

  /** The NUL-terminated name in a reference, below the root; undefined when there is none that fits. */
  #path(param: ServiceParam | undefined): string | undefined {
    if (param?.bytes === undefined) return undefined;
    const end = param.bytes.indexOf(0);
    if (end < 0 || end > MAX_NAME) return undefined;
    return `${this.#root}/./${new TextDecoder().decode(param.bytes.subarray(0, end))}`;
  }

  /** Runs `open` with the name in parameter 1 and puts the handle into parameter 2. */
  #withName(
    params: readonly ServiceParam[],
    open: (path: string) => { readonly handle: number } | number,
  ): number {
    const [, named, result] = params;
    if (!shapeIs(params, VALUE_INPUT, MEMREF_INPUT, VALUE_OUTPUT)) return BAD;
    const path = this.#path(named);
    if (path === undefined || result === undefined) return BAD;
    const opened = open(path);
    if (typeof opened === "number") return opened;
    result.a = BigInt(opened.handle);
    return OK;
  }

  /** Read-write, or read-only where the file system is; any failure is ITEM_NOT_FOUND (MSG-3.1.2). */
  #openFile(path: string): { handle: number } | number {
    const writable = this.disk.open(path, { write: true });
    if (typeof writable !== "number") return this.#install({ file: writable, writable: true });
    const file = this.disk.open(path);
    if (typeof file === "number") return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
    return this.#install({ file, writable: false });
  }

  /** Makes at most two missing directories, and takes them away again when it fails after all. */
  #create(path: string): { handle: number } | number {
    const first = this.#createIn(path);
    if (typeof first !== "number") return first;
    if (first !== -ERRNO.ENOENT) return codeOf(first);
    const parent = dirname(path);
    const made: string[] = [];
    const undo = (failed: number): number => {
      for (const one of made.toReversed()) this.disk.rmdir(one);
      return codeOf(failed);
    };
    let status = this.disk.mkdir(parent);
    if (status === -ERRNO.ENOENT) {
      const grandparent = dirname(parent);
      status = this.disk.mkdir(grandparent);
      if (status !== 0) return codeOf(status);
      made.push(grandparent);
      status = this.disk.mkdir(parent);
    }
    if (status !== 0) return undo(status);
    made.push(parent);
    const second = this.#createIn(path);
    return typeof second === "number" ? undo(second) : second;
  }

  #createIn(path: string): { handle: number } | number {
    const file = this.disk.open(path, { create: true, truncate: true, write: true });
    return typeof file === "number" ? file : this.#install({ file, writable: true });
  }

  #install(file: OpenFile): { handle: number } {
    let handle = FIRST_DESCRIPTOR;
    while (this.#open.has(handle)) handle += 1;
    this.#open.set(handle, file);
    return { handle };
  }

  #read(handle: number, offset: number, into: ServiceParam | undefined): number {
    if (into?.bytes === undefined) return BAD;
    const open = this.#open.get(handle);
    if (open === undefined || offset < 0) return TEEC.TEEC_ERROR_GENERIC;
    const part = open.file.bytes.subarray(offset, offset + into.bytes.length);
    into.bytes.set(part);
    into.b = BigInt(part.length);
    return OK;
  }

  /** Goes on until all is written or an error comes; what fitted before stays (MSG-3.1.3). */
  #write(handle: number, offset: number, bytes: Uint8Array | undefined): number {
    if (bytes === undefined) return BAD;
    const open = this.#open.get(handle);
    if (open === undefined || !open.writable || offset < 0) return TEEC.TEEC_ERROR_GENERIC;
    for (let done = 0; done < bytes.length;) {
      const count = this.disk.write(open.file, offset + done, bytes.subarray(done));
      if (count < 0) return codeOf(count);
      done += count;
    }
    return OK;
  }

  #truncate(handle: number, length: number): number {
    const open = this.#open.get(handle);
    if (open === undefined || !open.writable || length < 0) return TEEC.TEEC_ERROR_GENERIC;
    this.disk.truncate(open.file, length);
    return OK;
  }

  /** The file, and up to two directories above it that are empty then (MSG-3.1.6). */
  #remove(named: ServiceParam | undefined): number {
    const path = this.#path(named);
    if (path === undefined) return BAD;
    const removed = this.disk.unlink(path);
    if (removed !== 0) return codeOf(removed);
    const parent = dirname(path);
    if (parent !== `${this.#root}/.` && this.disk.rmdir(parent) === 0) {
      const grandparent = dirname(parent);
      if (grandparent !== `${this.#root}/.`) this.disk.rmdir(grandparent);
    }
    return OK;
  }

  #rename(overwrite: boolean, from: string | undefined, to: string | undefined): number {
    if (from === undefined || to === undefined) return BAD;
    switch (this.disk.rename(from, to, !overwrite)) {
      case -ERRNO.EEXIST:
        return TEEC.TEEC_ERROR_ACCESS_CONFLICT;
      case -ERRNO.ENOENT:
        return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
      default:
        // Whatever else went wrong is not told (MSG-3.1.5).
        return OK;
    }
  }

  /** An empty directory is ITEM_NOT_FOUND; names that start with "." are not listed (MSG-3.1.7). */
  #openDirectory(path: string): { handle: number } | number {
    const listed = this.disk.list(path);
    const names = typeof listed === "number" ? [] : listed.filter((name) => !name.startsWith("."));
    if (names.length === 0) return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
    let handle = 0;
    while (this.#directories.has(handle)) handle += 1;
    this.#directories.set(handle, { names, next: 0 });
    return { handle };
  }

  /** A name that does not fit is passed over all the same. */
  #readDirectory(handle: number, into: ServiceParam | undefined): number {
    if (into?.bytes === undefined) return BAD;
    const directory = this.#directories.get(handle);
    if (directory === undefined) return BAD;
    const name = directory.names[directory.next];
    if (name === undefined) return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
    directory.next += 1;
    const bytes = new TextEncoder().encode(`${name}\0`);
    into.b = BigInt(bytes.length);
    if (bytes.length > into.bytes.length) return TEEC.TEEC_ERROR_SHORT_BUFFER;
    into.bytes.set(bytes);
    return OK;
  }
}

/** POSIX dirname of a path below the root. */
const dirname = (path: string): string => path.replace(/\/+[^/]*$/, "");

/** Result code of a negative errno (MSG-3.1.4). */
function codeOf(negative: number): number {
  switch (-negative) {
    case ERRNO.ENOSPC:
      return TEEC.TEEC_ERROR_STORAGE_NO_SPACE;
    case ERRNO.ENOENT:
      return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
    default:
      return TEEC.TEEC_ERROR_GENERIC;
  }
}

const NAMED: readonly number[] = [
  FS_OP.OPEN,
  FS_OP.CREATE,
  FS_OP.REMOVE,
  FS_OP.RENAME,
  FS_OP.OPENDIR,
];

function describe(params: readonly ServiceParam[], result: number): FsRequest {
  const [request, second, third] = params;
  const op = Number(request?.a ?? -1n);
  const named = NAMED.includes(op);
  const bytes = named ? second?.bytes : undefined;
  const end = bytes?.indexOf(0) ?? -1;
  const gives = op === FS_OP.OPEN || op === FS_OP.CREATE || op === FS_OP.OPENDIR;
  return {
    op,
    ...(bytes === undefined || end < 0
      ? {}
      : { name: new TextDecoder().decode(bytes.subarray(0, end)) }),
    handle: Number(gives ? (third?.a ?? 0n) : (request?.b ?? 0n)),
    at: Number(request?.c ?? 0n),
    size: named ? 0 : Number(second?.b ?? 0n),
    result,
  };
}
