import type { Chained } from "../../base/index.ts";
import { type Frames, type OwnerId, type PinRecord } from "../../machine/index.ts";
import { MessageView } from "../../optee-abi/index.ts";
import { CookieTable, OWN_COOKIE_HIGH } from "../cookies.ts";
import type { PageHeap } from "../heap.ts";
import type { RuleSet } from "../rules.ts";

const NO_MESSAGE = new MessageView(new Uint8Array(0));

/** A guest page that carries RPC requests, and the shadow that the secure world uses instead. */
export class RpcArgument implements Chained<RpcArgument>, PinRecord {
  /** The guest's own cookie. */
  readonly cookieHigh: number;
  readonly cookieLow: number;
  /** Low word of the cookie that strict's secure world is given; its high word is OWN_COOKIE_HIGH. */
  readonly wireLow: number;
  readonly owner: OwnerId;
  readonly reason = "RPC argument";
  /** Page number in the guest. */
  readonly page: number;
  /** The pinned frame; -1 for a reply that was refused and waits for the guest to be told. */
  readonly frame: number;
  readonly shadow: number;
  /** The cookie table's own link. */
  older: RpcArgument | undefined;
  before: PinRecord | undefined;
  after: PinRecord | undefined;
  #bytes: Uint8Array | undefined;
  #view = NO_MESSAGE;

  constructor(
    cookie: { readonly high: number; readonly low: number },
    wireLow: number,
    owner: OwnerId,
    where: { readonly page: number; readonly frame: number; readonly shadow: number },
  ) {
    this.cookieHigh = cookie.high;
    this.cookieLow = cookie.low;
    this.wireLow = wireLow;
    this.owner = owner;
    this.page = where.page;
    this.frame = where.frame;
    this.shadow = where.shadow;
  }

  frames(): Iterable<number> {
    return [this.frame];
  }

  /** The shadow as a message; the view is made anew only when the bytes are elsewhere. */
  view(bytes: Uint8Array): MessageView {
    if (this.#bytes !== bytes) {
      this.#bytes = bytes;
      this.#view = new MessageView(bytes);
    }
    return this.#view;
  }
}

/** In place of a frame: an entry that only carries a cookie back. */
export const NO_FRAME = -1;

/** The RPC argument buffers of one VM. */
export class RpcArguments {
  readonly #table = new CookieTable<RpcArgument>();
  /** By the low word of the wire cookie, and which of its numbers are free again. */
  readonly #byWire: (RpcArgument | undefined)[] = [];
  readonly #idle: number[] = [];
  readonly #naive: boolean;
  readonly #frames: Frames;
  readonly #heap: PageHeap;
  readonly #owner: OwnerId;

  constructor(rules: RuleSet, frames: Frames, heap: PageHeap, owner: OwnerId) {
    // Xen hands the guest's cookie on. The secure world keeps RPC arguments and registered memory in
    // one table, so a guest could then name the shadow page in a memory reference and have a TA read
    // machine addresses from it; a cookie that no guest can use rules that out.
    this.#naive = rules.naiveRpcAlloc;
    this.#frames = frames;
    this.#heap = heap;
    this.#owner = owner;
  }

  get count(): number {
    return this.#table.size;
  }

  byCookie(high: number, low: number): RpcArgument | undefined {
    return this.#table.get(high, low);
  }

  byWire(high: number, low: number): RpcArgument | undefined {
    if (this.#naive) return this.#table.get(high, low);
    return high === OWN_COOKIE_HIGH ? this.#byWire[low] : undefined;
  }

  /**
   * MED-121: pins the guest's page and makes its shadow. Undefined, with nothing changed, when the
   * cookie is taken, the page cannot be pinned or no shadow can be had. NO_FRAME makes an entry
   * that only carries the cookie back.
   */
  add(cookie: { high: number; low: number }, page: number, frame: number): RpcArgument | undefined {
    if (this.#table.get(cookie.high, cookie.low) !== undefined) return undefined;
    let shadow = -1;
    if (frame >= 0) {
      shadow = this.#heap.allocate("rpc-argument");
      if (shadow < 0) return undefined;
      if (!this.#frames.pin(frame)) {
        this.#heap.release(shadow);
        return undefined;
      }
      this.#heap.bytes(shadow).fill(0);
      this.#heap.dirty(shadow);
    }
    const wireLow = this.#idle.pop() ?? this.#byWire.length;
    const argument = new RpcArgument(cookie, wireLow, this.#owner, { page, frame, shadow });
    this.#table.add(argument);
    this.#byWire[wireLow] = argument;
    if (frame >= 0) this.#frames.addRecord(argument);
    return argument;
  }

  drop(argument: RpcArgument): void {
    if (!this.#table.delete(argument)) return;
    this.#byWire[argument.wireLow] = undefined;
    this.#idle.push(argument.wireLow);
    if (argument.frame < 0) return;
    this.#frames.dropRecord(argument);
    this.#frames.unpin(argument.frame);
    this.#heap.release(argument.shadow);
  }

  dropAll(): void {
    for (const argument of this.#table.values()) this.drop(argument);
  }
}
