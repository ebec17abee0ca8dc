import { FS_OP, TEEC } from "../../optee-abi/index.ts";

const MAX_FILE = 65_536;

/** What an FS request says, with its data where it has some. */
export interface FileRequest {
  readonly operation: number;
  readonly handle: number;
  readonly offset: number;
  /** Name, or bytes to write. */
  readonly data: Uint8Array;
  /** Room for what is read. */
  readonly room: number;
}

export interface FileReply {
  readonly ret: number;
  /** Handle of OPEN and CREATE. */
  readonly handle?: number;
  readonly data?: Uint8Array;
}

/** The files that a guest keeps for the secure world: enough of a supplicant to get deep. */
export class GuestFiles {
  readonly #files = new Map<string, Uint8Array>();
  readonly #open: string[] = [];

  serve({ operation, handle, offset, data, room }: FileRequest): FileReply {
    const name = new TextDecoder().decode(data).split("\0")[0] ?? "";
    const opened = this.#open[handle] ?? "";
    const file = this.#files.get(opened);
    switch (operation) {
      case FS_OP.OPEN:
        return this.#files.has(name) ? this.#handle(name) : MISSING;
      case FS_OP.CREATE:
        if (this.#files.size < 16) this.#files.set(name, new Uint8Array(0));
        return this.#handle(name);
      case FS_OP.READ:
        return file === undefined ? MISSING : { ret: OK, data: file.slice(offset, offset + room) };
      case FS_OP.WRITE: {
        if (file === undefined || offset + data.length > MAX_FILE) return MISSING;
        const next = new Uint8Array(Math.max(file.length, offset + data.length));
        next.set(file);
        next.set(data, offset);
        this.#files.set(opened, next);
        return { ret: OK };
      }
      case FS_OP.TRUNCATE:
        if (file !== undefined && offset <= MAX_FILE)
          this.#files.set(opened, file.slice(0, offset));
        return { ret: OK };
      case FS_OP.REMOVE:
        return this.#files.delete(name) ? { ret: OK } : MISSING;
      case FS_OP.CLOSE:
      case FS_OP.CLOSEDIR:
        return { ret: OK };
      default:
        return MISSING;
    }
  }

  #handle(name: string): FileReply {
    if (this.#open.length >= 64) this.#open.length = 0;
    return { ret: OK, handle: this.#open.push(name) - 1 };
  }
}

const OK = TEEC.TEEC_SUCCESS;
const MISSING: FileReply = { ret: TEEC.TEEC_ERROR_ITEM_NOT_FOUND };
