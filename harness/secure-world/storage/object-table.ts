import { TEEC } from "../../optee-abi/index.ts";
import type { BackEnd, ObjectName } from "./back-end.ts";
import { fail } from "./failure.ts";

/** TEE_DATA_FLAG_*: how a persistent object is opened, and what others may do meanwhile. */
export const TEE_DATA_FLAG = {
  ACCESS_READ: 0x1,
  ACCESS_WRITE: 0x2,
  ACCESS_WRITE_META: 0x4,
  SHARE_READ: 0x10,
  SHARE_WRITE: 0x20,
  OVERWRITE: 0x400,
} as const;

/** What a name is looked up for. */
export type Usage = "open" | "create" | "rename" | "enumerate";

/** A persistent object that is open at least once. */
export interface OpenObject {
  name: ObjectName & { temporary: boolean };
  readonly backEnd: BackEnd;
  readonly flags: number;
  references: number;
  creating: boolean;
  /** TEE_USAGE_* bits that are left. */
  usage: number;
}

const CONFLICT = TEEC.TEEC_ERROR_ACCESS_CONFLICT;

/** All persistent objects that any TA has open, with the sharing rules of the GP Internal API. */
export class ObjectTable {
  readonly #open: OpenObject[] = [];

  get count(): number {
    return this.#open.length;
  }

  /** Takes a reference; ACCESS_CONFLICT where the object's other handles do not allow it. */
  get(uuid: string, id: Uint8Array, flags: number, usage: Usage, backEnd: BackEnd): OpenObject {
    const known = this.#open.findLast(
      ({ name, backEnd: own }) =>
        own === backEnd && name.uuid === uuid && Buffer.from(name.id).equals(id),
    );
    if (known !== undefined) {
      if (usage !== "enumerate") {
        const overwrites = (flags & TEE_DATA_FLAG.OVERWRITE) !== 0;
        if (known.creating || (usage === "create" && !overwrites)) fail(CONFLICT);
        if (!mayShare(known.flags, flags)) fail(CONFLICT);
      }
      known.references += 1;
      return known;
    }
    const creating = usage === "create";
    const name = { uuid, id: Uint8Array.from(id), temporary: creating };
    const made = { name, backEnd, flags, references: 1, creating, usage: 0 };
    this.#open.push(made);
    return made;
  }

  release(object: OpenObject): void {
    object.references -= 1;
    if (object.references === 0) this.#open.splice(this.#open.indexOf(object), 1);
  }
}

/** Whether handles with these flags may be open at once. */
function mayShare(a: number, b: number): boolean {
  const { ACCESS_READ, ACCESS_WRITE, ACCESS_WRITE_META, SHARE_READ, SHARE_WRITE } = TEE_DATA_FLAG;
  const either = a | b;
  const both = a & b;
  if ((either & ACCESS_WRITE_META) !== 0) return false;
  if ((either & ACCESS_READ) !== 0 && (both & SHARE_READ) === 0) return false;
  if ((either & ACCESS_WRITE) !== 0 && (both & SHARE_WRITE) === 0) return false;
  return ((a ^ b) & (SHARE_READ | SHARE_WRITE)) === 0;
}
