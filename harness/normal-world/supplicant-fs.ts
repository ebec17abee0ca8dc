import { FS_OP, TEEC } from "../optee-abi/index.ts";

/** A request's parameters as the supplicant has them: memory references as bytes it may change. */
export interface ServiceParam {
  /** A TEE_IOCTL_PARAM_ATTR type. */
  readonly attr: number;
  a: bigint;
  b: bigint;
  c: bigint;
  /** The memory's bytes; undefined for a NULL reference and for values. */
  readonly bytes: Uint8Array | undefined;
}

const VALUE_IN = 1;
const VALUE_OUT = 2;
const MEMREF_IN = 5;
const MEMREF_OUT = 6;
/** PATH_MAX less what the supplicant puts before a name. */
const MAX_NAME = 4092;

interface Directory {
  readonly names: readonly string[];
  next: number;
}

/** Normal-world storage of the secure world's files, in memory (MSG-3.1). */
export class SupplicantFiles {
  readonly files = new Map<string, Uint8Array>();
  readonly #open = new Map<number, string>();
  readonly #directories = new Map<number, Directory>();
  #nextHandle = 3;
  /** Bytes that fit; beyond them writing fails with STORAGE_NO_SPACE. */
  capacity = Number.POSITIVE_INFINITY;

  /** Serves one FS request and gives its result code. */
  serve(params: readonly ServiceParam[]): number {
    const [request, second, third] = params;
    if (request?.attr !== VALUE_IN) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    const handle = Number(request.b);
    switch (Number(request.a)) {
      case FS_OP.OPEN:
        return this.#withName(params, (name) => this.#openFile(name, false));
      case FS_OP.CREATE:
        return this.#withName(params, (name) => this.#openFile(name, true));
      case FS_OP.CLOSE:
        if (params.length !== 1) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
        return this.#open.delete(handle) ? TEEC.TEEC_SUCCESS : TEEC.TEEC_ERROR_GENERIC;
      case FS_OP.READ:
        if (second?.attr !== MEMREF_OUT || second.bytes === undefined) break;
        return this.#read(handle, Number(request.c), second);
      case FS_OP.WRITE:
        if (second?.attr !== MEMREF_IN || second.bytes === undefined) break;
        return this.#write(handle, Number(request.c), second.bytes);
      case FS_OP.TRUNCATE:
        return this.#truncate(handle, Number(request.c));
      case FS_OP.REMOVE: {
        const name = nameOf(second);
        if (name === undefined) break;
        return this.files.delete(name) ? TEEC.TEEC_SUCCESS : TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
      }
      case FS_OP.RENAME:
        return this.#rename(request.b !== 0n, nameOf(second), nameOf(third));
      case FS_OP.OPENDIR:
        return this.#withName(params, (name) => this.#openDirectory(name));
      case FS_OP.CLOSEDIR:
        return this.#directories.delete(handle)
          ? TEEC.TEEC_SUCCESS
          : TEEC.TEEC_ERROR_BAD_PARAMETERS;
      case FS_OP.READDIR:
        if (second?.attr !== MEMREF_OUT || second.bytes === undefined) break;
        return this.#readDirectory(handle, second);
      default:
    }
    return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  }

  /** Runs `open` with the name in parameter 1 and puts the handle into parameter 2. */
  #withName(params: readonly ServiceParam[], open: (name: string) => number): number {
    const [, named, result] = params;
    const name = nameOf(named);
    if (params.length !== 3 || result?.attr !== VALUE_OUT || name === undefined) {
      return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
    const handle = open(name);
    if (handle < 0) return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
    result.a = BigInt(handle);
    return TEEC.TEEC_SUCCESS;
  }

  #openFile(name: string, create: boolean): number {
    if (create) this.files.set(name, new Uint8Array(0));
    else if (!this.files.has(name)) return -1;
    const handle = this.#nextHandle;
    this.#nextHandle += 1;
    this.#open.set(handle, name);
    return handle;
  }

  #contents(handle: number): { name: string; bytes: Uint8Array } | undefined {
    const name = this.#open.get(handle);
    const bytes = name === undefined ? undefined : this.files.get(name);
    return name === undefined || bytes === undefined ? undefined : { name, bytes };
  }

  #read(handle: number, offset: number, into: ServiceParam): number {
    const file = this.#contents(handle);
    if (file === undefined || into.bytes === undefined) return TEEC.TEEC_ERROR_GENERIC;
    const part = file.bytes.subarray(offset, offset + into.bytes.length);
    into.bytes.set(part);
    into.b = BigInt(part.length);
    return TEEC.TEEC_SUCCESS;
  }

  #write(handle: number, offset: number, bytes: Uint8Array): number {
    const file = this.#contents(handle);
    if (file === undefined) return TEEC.TEEC_ERROR_GENERIC;
    const end = offset + bytes.length;
    const used = [...this.files.values()].reduce((sum, one) => sum + one.length, 0);
    if (used + Math.max(0, end - file.bytes.length) > this.capacity) {
      return TEEC.TEEC_ERROR_STORAGE_NO_SPACE;
    }
    const next = new Uint8Array(Math.max(file.bytes.length, end));
    next.set(file.bytes);
    next.set(bytes, offset);
    this.files.set(file.name, next);
    return TEEC.TEEC_SUCCESS;
  }

  #truncate(handle: number, length: number): number {
    const file = this.#contents(handle);
    if (file === undefined) return TEEC.TEEC_ERROR_GENERIC;
    const next = new Uint8Array(length);
    next.set(file.bytes.subarray(0, length));
    this.files.set(file.name, next);
    return TEEC.TEEC_SUCCESS;
  }

  #rename(overwrite: boolean, from: string | undefined, to: string | undefined): number {
    if (from === undefined || to === undefined) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    const bytes = this.files.get(from);
    if (bytes === undefined) return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
    if (!overwrite && this.files.has(to)) return TEEC.TEEC_ERROR_ACCESS_CONFLICT;
    this.files.delete(from);
    this.files.set(to, bytes);
    for (const [handle, name] of this.#open) if (name === from) this.#open.set(handle, to);
    return TEEC.TEEC_SUCCESS;
  }

  /** An empty directory is ITEM_NOT_FOUND; names that start with "." are not listed (MSG-3.1.7). */
  #openDirectory(name: string): number {
    const prefix = name === "" || name.endsWith("/") ? name : `${name}/`;
    const below = [...this.files.keys()].filter((file) => file.startsWith(prefix));
    const names = new Set(below.map((file) => file.slice(prefix.length).split("/")[0] ?? ""));
    const listed = [...names].filter((one) => one !== "" && !one.startsWith(".")).toSorted();
    if (listed.length === 0) return -1;
    const handle = this.#nextHandle;
    this.#nextHandle += 1;
    this.#directories.set(handle, { names: listed, next: 0 });
    return handle;
  }

  #readDirectory(handle: number, into: ServiceParam): number {
    const directory = this.#directories.get(handle);
    const name = directory?.names[directory.next];
    if (directory === undefined) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    if (name === undefined || into.bytes === undefined) return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
    const bytes = new TextEncoder().encode(`${name}\0`);
    into.b = BigInt(bytes.length);
    if (bytes.length > into.bytes.length) return TEEC.TEEC_ERROR_SHORT_BUFFER;
    into.bytes.set(bytes);
    directory.next += 1;
    return TEEC.TEEC_SUCCESS;
  }
}

/** The NUL-terminated name in an input reference, relative to the storage's root. */
function nameOf(param: ServiceParam | undefined): string | undefined {
  if (param?.attr !== MEMREF_IN || param.bytes === undefined) return undefined;
  const end = param.bytes.indexOf(0);
  if (end < 0 || end > MAX_NAME) return undefined;
  return new TextDecoder().decode(param.bytes.subarray(0, end)).replace(/^\/+/, "");
}
