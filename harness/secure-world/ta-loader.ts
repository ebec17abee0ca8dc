import { uuidOctets } from "../base/index.ts";
import { RPC_CMD, TEEC } from "../optee-abi/index.ts";
import {
  allocatePayload,
  freePayload,
  rpcCommand,
  rpcMemref,
  rpcNull,
  rpcOctets,
  type RpcParam,
  type RpcPayload,
  rpcWord,
} from "./rpc.ts";
import type { Session } from "./session.ts";
import { codeOf } from "./storage/failure.ts";
import { TaContext } from "./ta-context.ts";
import { hasSignature, type VerifiedImage, verifyTaImage } from "./tas/image.ts";
import type { TrustedApplication } from "./tas/ta.ts";
import type { SecureTask, Thread } from "./thread.ts";

type Loaded =
  | { readonly result: 0; readonly image: VerifiedImage }
  | { readonly result: Exclude<number, 0>; readonly image: undefined };

/**
 * Loads a user TA into a new instance for `session`: asks the secure-storage TA store first, then the
 * normal world (LOAD_TA twice, MSG-3.7), verifies the image and its version.
 */
export function* loadUserTa(thread: Thread, session: Session, uuid: string): SecureTask<number> {
  const { partition } = thread;
  const known = partition.core.userTas.get(uuid);
  // While it is loaded it keeps others waiting that open the same TA.
  const ta = known ?? unknownTa(uuid);
  const context = new TaContext(partition, ta, false, ramOf(ta));
  partition.contexts.push(context);
  session.loading = true;
  yield* partition.taMutex.leave(thread) ?? [];
  let { result } = yield* load(thread, uuid);
  for (const library of known?.libraries ?? []) {
    if (result === TEEC.TEEC_SUCCESS) result = (yield* load(thread, library.uuid)).result;
  }
  // A genuine image whose code this model does not have.
  if (result === TEEC.TEEC_SUCCESS && known === undefined) result = TEEC.TEEC_ERROR_NOT_SUPPORTED;
  if (result === TEEC.TEEC_SUCCESS && !partition.takeTaRam(context.ram)) {
    result = TEEC.TEEC_ERROR_OUT_OF_MEMORY;
  }
  context.initializing = false;
  session.loading = false;
  if (result === TEEC.TEEC_SUCCESS) session.context = context;
  else context.unlist();
  partition.contextInitialized.broadcast();
  yield* partition.taMutex.leave(thread) ?? [];
  return result;
}

/** What stands in the list while an image is looked for of whose code nothing is known. */
const unknownTa = (uuid: string): TrustedApplication => ({
  name: uuid,
  uuid,
  flags: 0,
  stackSize: 0,
  dataSize: 0,
  imageSize: 0,
  instantiate: () => ({ invoke: () => TEEC.TEEC_ERROR_NOT_SUPPORTED }),
});

const PAGE = 4096;
function ramOf({ imageSize, stackSize, dataSize, libraries = [] }: TrustedApplication): number {
  const code = libraries.reduce((sum, library) => sum + library.imageSize, imageSize);
  return Math.ceil((code + stackSize + dataSize) / PAGE) * PAGE;
}

/** The arithmetic of a signature, which leaves the secure world only to wait for its memory. */
function* nothing(): SecureTask {}

const failed = (result: number): Loaded => ({ result, image: undefined });

/** With these results of a TA store the next one is asked. */
const NEXT_STORE: readonly number[] = [
  TEEC.TEEC_ERROR_ITEM_NOT_FOUND,
  TEEC.TEEC_ERROR_STORAGE_NOT_AVAILABLE,
];

function* load(thread: Thread, uuid: string): SecureTask<Loaded> {
  const { tas } = thread.partition.storage;
  const stored = yield* codeOf(tas.find(thread, uuid));
  // What is installed there is real code, which this model cannot run.
  if (stored === TEEC.TEEC_SUCCESS) return failed(TEEC.TEEC_ERROR_NOT_SUPPORTED);
  if (!NEXT_STORE.includes(stored)) return failed(stored);
  const name = rpcOctets(uuidOctets(uuid));
  const query = rpcNull("out");
  const first = yield* rpcCommand(thread, RPC_CMD.LOAD_TA, [name, query]);
  if (first !== TEEC.TEEC_SUCCESS) return failed(first);
  const size = rpcWord(query, 1);
  const payload = yield* allocatePayload(thread, size);
  if (payload === undefined) return failed(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
  const loaded = yield* loadInto(thread, payload, uuid, name);
  // The image is read piece by piece as it is loaded, so its memory is given back last.
  yield* freePayload(thread, payload);
  return loaded;
}

function* loadInto(
  thread: Thread,
  payload: RpcPayload,
  uuid: string,
  name: RpcParam,
): SecureTask<Loaded> {
  const { tas } = thread.partition.storage;
  const size = payload.asked;
  const target = rpcMemref("out", payload, size);
  const second = yield* rpcCommand(thread, RPC_CMD.LOAD_TA, [name, target]);
  if (second !== TEEC.TEEC_SUCCESS) return failed(second);
  // Copied before it is looked at: the normal world could change it between check and use.
  const bytes = payload.pages.read(0, size);
  if (hasSignature(bytes)) yield* thread.partition.mempool.hold(thread, nothing());
  const image = verifyTaImage(bytes);
  if (image === undefined || image.uuid !== uuid) return failed(TEEC.TEEC_ERROR_SECURITY);
  const version = yield* codeOf(tas.checkVersion(thread, uuid, image.version));
  return version === TEEC.TEEC_SUCCESS ? { result: 0, image } : failed(version);
}
