import { Registers } from "../../machine/index.ts";
import { MessageView } from "../../optee-abi/index.ts";
import type { ShmBuffer } from "./buffers.ts";

const NO_MESSAGE = new MessageView(new Uint8Array(0));

/** One yielding call of a guest, from CALL_WITH_ARG to its completion (MED-042). */
export class StdCall {
  /** What goes to the secure world and what came back. */
  readonly out = new Registers();
  /** Page number of the argument in the guest. */
  argument = 0;
  /** Frame of the mediator's copy of it; -1 while there is none. */
  shadow = -1;
  /** The secure world's thread while the call is suspended, else -1 (MED-111). */
  thread = -1;
  /** One vCPU is in it; no other may resume it (MED-152). */
  inFlight = true;
  /** The pending RPC is the mediator's own SHM_FREE (MED-143). */
  ownRpc = false;
  /** What is pending, by the secure world's word (MED-112): RPC function, a1, a2. */
  rpcFunction = 0;
  rpcHigh = 0;
  rpcLow = 0;
  /** Memory type of the SHM_ALLOC under way (MED-103). */
  shmType = 0;
  /** The last RPC buffer of this call, whose page list is still there (MED-142). */
  dataBuffer: ShmBuffer | undefined;
  /** Buffers that this call's own parameters made. */
  readonly created: ShmBuffer[] = [];

  #bytes: Uint8Array | undefined;
  #view = NO_MESSAGE;

  /** The shadow page as a message; the view is made anew only when the bytes are elsewhere. */
  view(bytes: Uint8Array): MessageView {
    if (this.#bytes !== bytes) {
      this.#bytes = bytes;
      this.#view = new MessageView(bytes);
    }
    return this.#view;
  }

  reset(): void {
    this.shadow = -1;
    this.thread = -1;
    this.inFlight = true;
    this.ownRpc = false;
    this.rpcFunction = 0;
    this.rpcHigh = 0;
    this.rpcLow = 0;
    this.shmType = 0;
    this.dataBuffer = undefined;
    if (this.created.length > 0) this.created.length = 0;
  }
}
