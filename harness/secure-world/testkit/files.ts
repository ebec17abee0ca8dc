import { FS_OP, type MsgParam, TEEC } from "../../optee-abi/index.ts";

/** What an answer to an FS command needs of the kit: the bytes behind a memory reference. */
export interface PayloadAccess {
  read(param: MsgParam): Uint8Array;
  write(param: MsgParam, bytes: Uint8Array): void;
}

/** Files of the normal world's storage, kept in memory: what the kit's own supplicant serves. */
export class KitFiles {
  readonly files = new Map<string, Uint8Array>();
  readonly #open = new Map<number, string>();
  #next = 3;

  /** Handles that were not closed. */
  get openCount(): number {
    return this.#open.size;
  }

  /** Serves one command and gives its result; outputs go into `params`. */
  serve(params: MsgParam[], access: PayloadAccess): number {
    const [request, second, third] = params;
    const handle = Number(request?.b);
    const at = Number(request?.c);
    const operation = Number(request?.a);
    switch (operation) {
      case FS_OP.OPEN:
      case FS_OP.CREATE: {
        const name = nameIn(second, access);
        if (operation === FS_OP.CREATE) this.files.set(name, new Uint8Array(0));
        else if (!this.files.has(name)) return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
        if (third !== undefined) third.a = BigInt(this.#next);
        this.#open.set(this.#next, name);
        this.#next += 1;
        return TEEC.TEEC_SUCCESS;
      }
      case FS_OP.CLOSE:
        return this.#open.delete(handle) ? TEEC.TEEC_SUCCESS : TEEC.TEEC_ERROR_GENERIC;
      case FS_OP.REMOVE:
        return this.files.delete(nameIn(second, access))
          ? TEEC.TEEC_SUCCESS
          : TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
      default:
        return this.#onOpenFile(operation, this.#open.get(handle), at, second, access);
    }
  }

  #onOpenFile(
    operation: number,
    name: string | undefined,
    at: number,
    memref: MsgParam | undefined,
    access: PayloadAccess,
  ): number {
    const file = name === undefined ? undefined : this.files.get(name);
    if (name === undefined || file === undefined) return TEEC.TEEC_ERROR_GENERIC;
    if (operation === FS_OP.TRUNCATE) {
      const cut = new Uint8Array(at);
      cut.set(file.subarray(0, at));
      this.files.set(name, cut);
      return TEEC.TEEC_SUCCESS;
    }
    if (memref === undefined) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    if (operation === FS_OP.READ) {
      const part = file.subarray(at, at + Number(memref.b));
      access.write(memref, part);
      memref.b = BigInt(part.length);
      return TEEC.TEEC_SUCCESS;
    }
    if (operation !== FS_OP.WRITE) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    const bytes = access.read(memref);
    const grown = new Uint8Array(Math.max(file.length, at + bytes.length));
    grown.set(file);
    grown.set(bytes, at);
    this.files.set(name, grown);
    return TEEC.TEEC_SUCCESS;
  }
}

function nameIn(param: MsgParam | undefined, access: PayloadAccess): string {
  const bytes = param === undefined ? new Uint8Array(1) : access.read(param);
  return Buffer.from(bytes.subarray(0, bytes.indexOf(0))).toString("latin1");
}
