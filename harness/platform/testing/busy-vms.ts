import { createHash } from "node:crypto";
import type { SpawnedTask, Task } from "../../machine/index.ts";
import { TEEC_PARAM, type TeecContext, TeecParam } from "../../normal-world/index.ts";
import { CRYPT_CMD, CRYPT_UUID, INVOKE_TESTS_UUID } from "../../secure-world/index.ts";
import {
  createEmulated,
  EmulatedContext,
  type EmulatedOptions,
  type EmulatedPlatform,
} from "../index.ts";

/** A client whose answers depend on `salt` alone: registered and temporary memory, a TA to load. */
function* client(tee: TeecContext, salt: number): Task<string> {
  const opened = yield* tee.openSession(CRYPT_UUID);
  const pseudo = yield* tee.openSession(INVOKE_TESTS_UUID);
  if (opened.session === undefined || pseudo.session === undefined) return "no session";
  const input = tee.process.memory.allocate(6000, salt);
  if (input === undefined) return "no memory";
  input.write(new Uint8Array(6000).fill(salt));
  const { memory } = yield* tee.registerSharedMemory(input, 1);
  const output = yield* tee.allocateSharedMemory(32, 2);
  if (memory === undefined || output.memory === undefined) return "no shared memory";
  yield* tee.invokeCommand(opened.session, CRYPT_CMD.SHA256, [
    TeecParam.whole(memory),
    TeecParam.whole(output.memory),
  ]);
  const temporary = tee.process.memory.allocate(9000, 4000);
  if (temporary === undefined) return "no memory";
  temporary.write(new Uint8Array(9000).fill(salt));
  const memref = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INOUT, temporary);
  yield* tee.invokeCommand(pseudo.session, 1, [memref]);
  yield* tee.closeSession(opened.session);
  const hash = Buffer.from(output.memory.buffer.read(0, 32)).toString("hex");
  return `${hash} ${temporary.read(0, 1)[0]}`;
}

/** What `client` gives, computed apart. */
export function expectedOf(salt: number): string {
  const hash = createHash("sha256").update(new Uint8Array(6000).fill(salt)).digest("hex");
  return `${hash} ${(9000 * salt) & 0xff}`;
}

export interface World {
  readonly platform: EmulatedPlatform;
  readonly context: EmulatedContext;
  /** By guest: its clients. */
  readonly clients: readonly SpawnedTask<string>[][];
}

export interface Busy extends Partial<Omit<EmulatedOptions, "conduit" | "seed">> {
  readonly seed: number;
  readonly vms: number;
  readonly clients: number;
}

/** The number that client `index` of guest `guest` works with. */
export const saltOf = (guest: number, index: number): number => 10 * guest + index;

/** VMs that are up, with clients which have not run yet. */
export function startBusy({ clients: perVm, ...options }: Busy): World {
  const platform = createEmulated({ conduit: "vm", ...options });
  const context = new EmulatedContext(platform);
  const guests = Array.from({ length: options.vms }, (_, guest) => guest);
  const tees = guests.map((guest) => Array.from({ length: perVm }, () => context.client(guest)));
  const clients = tees.map((all, guest) =>
    all.map((tee, index) =>
      context.guest(guest).spawn("client", client(tee, saltOf(guest, index))),
    ),
  );
  return { platform, context, clients };
}

/** Runs until these tasks have ended; what each gave. */
export function finish({ context }: World, tasks: readonly SpawnedTask<string>[]): string[] {
  context.scheduler.runUntil(() => tasks.every(({ finished }) => finished));
  return tasks.map((task) => task.result());
}
