/** The canonical form of a trace: every field typed by what the ABI says that it is. */

/**
 * What a symbol stands for. Of these only equality counts: which page, cookie, session it is again.
 * `taSize` is the size of a TA's image, which every build has its own of.
 */
export type SymbolClass =
  | "page"
  | "cookie"
  | "session"
  | "thread"
  | "handle"
  | "instance"
  | "client"
  | "notification"
  | "version"
  | "taSize"
  /** Of RPMB: what is random, made with it, or encrypted under a random key. */
  | "nonce"
  | "mac"
  | "fek"
  | "block";

/**
 * What the two sides need not have in common: a time, a register that the ABI leaves undefined
 * (`garbage`), contents that only one secure world can know (`opaque`: ciphertext, frames).
 */
export type LooseClass = "time" | "garbage" | "opaque";

export type FieldValue =
  | { readonly kind: "constant"; readonly text: string }
  | {
      readonly kind: "symbol";
      readonly of: SymbolClass;
      /** What is identified, with its scope: two keys are equal when the values mean the same. */
      readonly key: string;
      /** What counts beside identity: the offset within a page. */
      readonly beside: string;
      /**
       * Whoever sends it chooses what it is called, and may use a name again for something new: its
       * pairing with the other side begins here. Elsewhere it must be what it was paired with.
       */
      readonly names: boolean;
    }
  /** A number in a result: the same on both sides, or two that stand for one symbol. */
  | { readonly kind: "number"; readonly text: string; readonly value: bigint }
  | { readonly kind: "loose"; readonly of: LooseClass };

/** What part of a record a field belongs to. */
export type FieldPart = "register" | "message field" | "data" | "guest" | "result" | "end";

export interface CanonicalField {
  readonly name: string;
  readonly part: FieldPart;
  readonly raw: string;
  readonly value: FieldValue;
  /** A register that came back as its caller sent it. */
  readonly asSent?: true;
}

/** What a record is about, for the table of clauses. */
export interface RecordTopic {
  /** Function identifier; of a resumed call that of the call that was resumed. */
  readonly fid?: number;
  /** Low 32 bits of a0 when it left. */
  readonly a0?: number;
  /** Command of the message of the call. */
  readonly cmd?: number;
  /** Command of an RPC, and the operation of FS and SOCKET; of RPMB the type of its frames. */
  readonly rpc?: number;
  readonly operation?: number;
  /** Address in RPMB frames. */
  readonly address?: number;
  /** `ret` of the message. */
  readonly ret?: number;
}

export interface CanonicalRecord {
  /** Number of its line in the trace's file, where the header is 0. */
  readonly index: number;
  /** Function and command in words. */
  readonly call: string;
  readonly type: "smc" | "guest" | "end";
  readonly where?: "conduit" | "port";
  readonly phase?: "enter" | "leave";
  readonly guest?: number;
  /** Records with one skeleton are taken to be the same step of both traces. */
  readonly skeleton: string;
  /** Records with one of these may be the same step gone another way. */
  readonly outline: string;
  /** Made anew each time: of a long trace only what is looked at takes memory. */
  readonly fields: () => readonly CanonicalField[];
  readonly topic: RecordTopic;
}
