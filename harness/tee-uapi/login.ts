import { NIL_UUID, uuidV5 } from "../base/index.ts";
import { ERRNO } from "./errno.ts";

/** Login methods of OPEN_SESSION (TEE-2.3). */
export const TEE_LOGIN = {
  PUBLIC: 0,
  USER: 1,
  GROUP: 2,
  APPLICATION: 4,
  USER_APPLICATION: 5,
  GROUP_APPLICATION: 6,
  /** First of the range that the kernel keeps for itself, up to 0xbfffffff. */
  REE_KERNEL: 0x8000_0000,
} as const;
export const TEE_LOGIN_REE_KERNEL_MAX = 0xbfff_ffff;

/** Namespace of the client UUIDs that the Linux kernel makes. */
export const CLIENT_UUID_NAMESPACE = "58ac9ca0-2086-4683-a1b8-ec4bc08e01b6";

/** Who a process is, as far as a login needs it. */
export interface Credentials {
  readonly euid: number;
  readonly egid: number;
  readonly groups: readonly number[];
}

export type ClientUuid =
  | { readonly ok: true; readonly uuid: string }
  | { readonly ok: false; readonly errno: number };

/**
 * The client UUID for a login from user space (TEE-2.3). `group` is the first 32-bit word of
 * clnt_uuid, which names the group of a GROUP login.
 */
export function clientUuid(login: number, group: number, who: Credentials): ClientUuid {
  switch (login) {
    case TEE_LOGIN.PUBLIC:
      return { ok: true, uuid: NIL_UUID };
    case TEE_LOGIN.USER:
      return { ok: true, uuid: uuidV5(CLIENT_UUID_NAMESPACE, `uid=${who.euid.toString(16)}`) };
    case TEE_LOGIN.GROUP:
      return who.egid === group || who.groups.includes(group)
        ? { ok: true, uuid: uuidV5(CLIENT_UUID_NAMESPACE, `gid=${group.toString(16)}`) }
        : { ok: false, errno: ERRNO.EPERM };
    default:
      return login >= TEE_LOGIN.REE_KERNEL && login <= TEE_LOGIN_REE_KERNEL_MAX
        ? { ok: false, errno: ERRNO.EPERM }
        : { ok: false, errno: ERRNO.EINVAL };
  }
}
