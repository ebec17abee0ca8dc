import type { LifeCycle, RpmbBuild } from "../../board/index.ts";
import type { KeyVerdict } from "../../rpmb/index.ts";
import type { LedgerEntry, LedgerIntent } from "../ledger/entry.ts";

/** The ways in which the field programs a part's key. */
export const ROUTES = ["write-key-build", "key-service", "offline", "database"] as const;
export type Route = (typeof ROUTES)[number];

export const ROUTE_TITLES: Readonly<Record<Route, string>> = {
  "write-key-build": "a build of OP-TEE with CFG_RPMB_WRITE_KEY programs the key that it derives",
  "key-service":
    "the key is read out by a restricted service of an insecure build, and written by a tool",
  offline: "the key is derived off-line from hardware unique key and CID, and written by mmc-utils",
  database: "the key comes from a production database, and is written by mmc-utils",
};

/** What the board file says of the board, as far as plans care. */
export interface BoardView {
  readonly name: string;
  /** Absolute path; empty for the state file of an emulated part alone. */
  readonly file: string;
  /** SHA-256 of the board file, so that a plan ends when somebody edits it. */
  readonly fileHash: string;
  readonly platform: "emulated" | "qemu" | "hardware";
  readonly soc: string;
  readonly lifeCycle: LifeCycle;
  /** What stands in the file itself; nothing else makes a board expendable. */
  readonly expendable: boolean;
  readonly ssh: boolean;
  readonly build: RpmbBuild;
}

/** The part as it is now. */
export interface PartView {
  /** A device on the board's Linux, or a state file. */
  readonly where: string;
  /** Lockstep itself serves it. */
  readonly emulated: boolean;
  /** 32 lower-case hex digits, as the part reports them. */
  readonly cid: string;
  /** What the board file expects. */
  readonly expectedCid?: string;
  readonly sizeMultiplier?: number;
  readonly verdict: KeyVerdict;
  readonly reason: string;
  /** Names of the key that it has. */
  readonly keys: readonly string[];
}

/** A key by its public name. */
export interface KeyView {
  readonly id: string;
  /** One sentence; holds nothing secret. */
  readonly how: string;
  /** CFG_CORE_HUK_SUBKEY_COMPAT, where the key was derived. */
  readonly compat?: boolean;
  /** Source of the hardware unique key, `test-key`, `database` or `key-service`. */
  readonly source: string;
  /** Bytes of the hardware unique key. */
  readonly hukSize?: number;
  /** Whoever knows the CID, or nothing at all, knows the key. */
  readonly published: boolean;
}

/** All that a plan is made from. */
export interface Situation {
  readonly route: Route;
  readonly board: BoardView;
  /** Undefined where the plan is made without asking the part. */
  readonly part?: PartView;
  /** The key that would be written; on route write-key-build that which OP-TEE derives. */
  readonly key?: KeyView;
  /** What this board's OP-TEE derives, where that is known and is not `key` itself. */
  readonly derived?: KeyView;
  /** Where the database is, for messages. */
  readonly database?: string;
  /** The command that makes OP-TEE use its storage, on route write-key-build. */
  readonly trigger: string;
  /** Whether programs are on the board; undefined where nobody looked. */
  readonly tools: { readonly mmc?: boolean; readonly keyClient?: boolean };
  /** What the ledger knows of this part. */
  readonly history: {
    readonly programmed: readonly LedgerEntry[];
    readonly open: readonly LedgerIntent[];
    /** What shows that somebody else changed it. */
    readonly problem?: string;
  };
}

/** i.MX8M and its kin, whose hardware unique key hangs on the life cycle. */
export const isImx = ({ board }: Situation): boolean => /i\.?mx/i.test(board.soc);

/** Whether a source of a hardware unique key is the CAAM. */
export const isCaam = (source: unknown): boolean =>
  typeof source === "string" && source.startsWith("caam-");

/** Whether OP-TEE takes its hardware unique key from the CAAM. */
export const usesCaam = ({ board, key }: Situation): boolean =>
  isCaam(key?.source) || isCaam(board.build.huk);

/** Routes on which a tool writes the key. */
export const writesByTool = ({ route }: Situation): boolean => route !== "write-key-build";
