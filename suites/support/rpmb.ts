import type { Task } from "../../harness/machine/index.ts";
import type { FileSystem, TeecContext, TeecResult } from "../../harness/normal-world/index.ts";
import { resultName } from "../../harness/optee-abi/index.ts";
import type { Data, RestartOptions, ScenarioContext } from "../../harness/platform/index.ts";
import { DATA_FLAG, StorageClient, STORAGE_ID } from "./storage-client.ts";
import { STORAGE } from "./tas.ts";

const { ACCESS_READ, ACCESS_WRITE, ACCESS_WRITE_META, OVERWRITE } = DATA_FLAG;
const ALL = ACCESS_READ | ACCESS_WRITE | ACCESS_WRITE_META;
/** Where OP-TEE's supplicant keeps the files of secure storage. */
const FILES = "/var/lib/tee";

export const idOf = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Each step of a scenario with what came of it and what was asked of the part meanwhile. */
export type Steps = Readonly<Record<string, string>>;

const nameOf = (result: number): string =>
  (resultName(result) ?? `0x${result.toString(16)}`).replace(/^TEEC_(?:ERROR_)?/, "");

/** A run of steps on a machine with RPMB, over restarts of it. */
export class RpmbRun {
  readonly #context: ScenarioContext;
  readonly #steps: Record<string, string> = {};
  #client: StorageClient | undefined;

  constructor(context: ScenarioContext) {
    this.#context = context;
  }

  get steps(): Steps {
    return this.#steps;
  }

  /** Notes a step: its result, and the frames where the part is ours. */
  note(step: string, result: string): void {
    const frames = this.#context.rpmb.part.takeFrames().join(" ");
    this.#steps[step] = frames === "" ? result : `${result}: ${frames}`;
  }

  /** Loads the storage TA anew; its steps need it. */
  load(step: string): boolean {
    const tee: TeecContext = this.#context.client();
    const { result, client } = this.#context.execute(openClient(tee));
    this.#client = client;
    this.note(step, nameOf(result));
    return client !== undefined;
  }

  /** A step with the TA that was loaded last; none without one. */
  do(step: string, body: (client: StorageClient) => Task<TeecResult>): void {
    const client = this.#client;
    if (client === undefined) {
      this.note(step, "no TA");
      return;
    }
    const { result } = this.#context.execute(body(client));
    this.note(step, nameOf(result));
  }

  create(step: string, id: string, data: Uint8Array, place: number = STORAGE_ID.RPMB): void {
    this.do(step, function* (client) {
      const made = yield* client.create(place, idOf(id), ALL | OVERWRITE, data);
      if (made.result !== 0) return made;
      return yield* client.close(made.object);
    });
  }

  /** Reads an object; the step ends with the first bytes of it, as text. */
  read(step: string, id: string, place: number = STORAGE_ID.RPMB): void {
    const client = this.#client;
    if (client === undefined) return this.note(step, "no TA");
    const text = this.#context.execute(
      (function* (): Task<string> {
        const opened = yield* client.openObject(place, idOf(id), ACCESS_READ);
        if (opened.result !== 0) return nameOf(opened.result);
        const { result, bytes } = yield* client.read(opened.object, 64);
        yield* client.close(opened.object);
        return result === 0
          ? JSON.stringify(Buffer.from(bytes).toString("latin1"))
          : nameOf(result);
      })(),
    );
    this.note(step, text);
  }

  remove(step: string, id: string, place: number = STORAGE_ID.RPMB): void {
    this.do(step, function* (client) {
      const opened = yield* client.openObject(place, idOf(id), ALL);
      return opened.result === 0 ? yield* client.unlink(opened.object) : opened;
    });
  }

  /** The machine is switched off and on; the TA is gone. */
  async restart(options: RestartOptions = {}): Promise<void> {
    this.#client = undefined;
    await this.#context.restart(options);
  }

  /** What a scenario returns: its steps, and whose key the part has. */
  end(more: Readonly<Record<string, Data>> = {}): Data {
    const { part } = this.#context.rpmb;
    const key = !part.keyProgrammed
      ? "none"
      : part.hasKey(part.derivedKey())
        ? "derived"
        : "another";
    return { steps: this.#steps, key, counter: part.writeCounter, ...more };
  }
}

function* openClient(
  tee: TeecContext,
): Task<{ readonly result: number; readonly client: StorageClient | undefined }> {
  const { result, session } = yield* tee.openSession(STORAGE.uuid);
  return {
    result,
    client: session === undefined ? undefined : StorageClient.with(tee, session),
  };
}

/** The files of secure storage, to put back later. */
export function storageFiles(disk: FileSystem): ReadonlyMap<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const walk = (at: string): void => {
    const names = disk.list(at);
    if (typeof names === "number") return;
    for (const name of names) {
      const path = `${at}/${name}`;
      if (typeof disk.list(path) === "number")
        files.set(path, disk.read(path)?.slice() ?? idOf(""));
      else walk(path);
    }
  };
  walk(FILES);
  return files;
}

/** Puts files back as they were; later ones are gone. */
export function restoreFiles(disk: FileSystem, files: ReadonlyMap<string, Uint8Array>): void {
  for (const path of storageFiles(disk).keys()) disk.unlink(path);
  for (const [path, bytes] of files) disk.store(path, bytes.slice());
}
