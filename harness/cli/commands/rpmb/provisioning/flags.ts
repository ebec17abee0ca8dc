import type { Route } from "../../../../provision/index.ts";
import type { OpeningFlags } from "../../../key-opening.ts";

/** The options of `rpmb provision`. */
export interface ProvisionFlags extends OpeningFlags {
  readonly board?: string;
  readonly image?: string;
  readonly route?: Route;
  readonly offline?: boolean;
  readonly source?: string;
  readonly huk?: string;
  readonly compat: boolean;
  readonly database?: string;
  readonly trigger: string;
  readonly perform?: boolean;
  readonly cid?: string;
  readonly code?: string;
  readonly ledger?: boolean;
  readonly timeout?: number;
  readonly json?: boolean;
}
