import type { SecureTask } from "../thread.ts";
import type { TrustedApplication } from "../tas/ta.ts";
import type { TeeApi } from "../tas/tee-api.ts";
import type { RpmbDevice } from "../../rpmb/index.ts";
import { type KitOptions, SecureKit } from "./kit.ts";

export const SCRIPT_UUID = "0c4d1a52-6f63-4d0e-9f39-7d8f0a6b1c11";
export const OTHER_SCRIPT_UUID = "0c4d1a52-6f63-4d0e-9f39-7d8f0a6b1c12";

type Program<T> = (tee: TeeApi) => SecureTask<T>;

export interface StorageKitOptions extends Pick<KitOptions, "build" | "core"> {
  /** What the normal world has in its files already. */
  readonly files?: ReadonlyMap<string, Uint8Array>;
  readonly devices?: readonly RpmbDevice[];
  readonly kernelRouting?: boolean;
}

/** A secure world with two TAs whose code a test gives, on top of files and RPMB parts that stay. */
export class StorageKit {
  readonly kit: SecureKit;
  readonly options: StorageKitOptions;
  readonly #sessions = new Map<string, number>();
  #program: Program<unknown> | undefined;
  #value: unknown;

  constructor(options: StorageKitOptions = {}) {
    this.options = options;
    const userTas = [this.#ta(SCRIPT_UUID), this.#ta(OTHER_SCRIPT_UUID)];
    const { build = {}, core = {} } = options;
    this.kit = new SecureKit({ userTas, build, core });
    for (const [name, bytes] of options.files ?? []) this.kit.files.files.set(name, bytes);
    this.kit.rpmb.devices = options.devices ?? [];
    this.kit.rpmb.kernelRouting = options.kernelRouting ?? true;
  }

  #ta(uuid: string): TrustedApplication {
    const run = (tee: TeeApi): SecureTask<number> => this.#execute(tee);
    return {
      name: "script",
      uuid,
      flags: 0,
      stackSize: 2048,
      dataSize: 4096,
      imageSize: 4096,
      instantiate: () => ({ invoke: run }),
    };
  }

  *#execute(tee: TeeApi): SecureTask<number> {
    this.#value = this.#program === undefined ? undefined : yield* this.#program(tee);
    return 0;
  }

  /** Runs code as a TA; its value. Throws unless the TA could be loaded and ended well. */
  run<T>(program: Program<T>, uuid = SCRIPT_UUID): T {
    const { ret, value } = this.attempt(program, uuid);
    if (ret !== 0) throw new Error(`the TA ended with 0x${ret.toString(16)}`);
    return value as T;
  }

  /** Runs code as a TA; the result that a client gets, of the opening if that fails. */
  attempt<T>(program: Program<T>, uuid = SCRIPT_UUID): { ret: number; value: T | undefined } {
    this.#value = undefined;
    this.#program = program;
    let session = this.#sessions.get(uuid);
    if (session === undefined) {
      const opened = this.kit.open(uuid);
      if (opened.ret !== 0) return { ret: opened.ret, value: undefined };
      ({ session } = opened);
      this.#sessions.set(uuid, session);
    }
    const { ret } = this.kit.invoke(session, 0);
    if (ret !== 0) this.#sessions.delete(uuid);
    return { ret, value: this.#value as T | undefined };
  }

  /** Closes every session, and with them the TAs and their objects. */
  closeAll(): void {
    for (const session of this.#sessions.values()) this.kit.close(session);
    this.#sessions.clear();
  }

  /** The same files and parts under a secure world that has just started. */
  reboot(changes: StorageKitOptions = {}): StorageKit {
    return new StorageKit({ ...this.options, files: this.copyFiles(), ...changes });
  }

  copyFiles(): Map<string, Uint8Array> {
    return new Map([...this.kit.files.files].map(([name, bytes]) => [name, bytes.slice()]));
  }
}
