import { MED_CLAUSES } from "./med.ts";
import type { Clause } from "./model.ts";
import { MSG_CLAUSES } from "./msg.ts";
import { RPMB_CLAUSES } from "./rpmb.ts";
import { SMC_CLAUSES } from "./smc.ts";
import { TEE_CLAUSES } from "./tee.ts";

export * from "./model.ts";

/** Every clause, sheet by sheet in `SHEETS` order, each sheet in its own order. */
export const CLAUSES: readonly Clause[] = [
  ...MED_CLAUSES,
  ...SMC_CLAUSES,
  ...MSG_CLAUSES,
  ...TEE_CLAUSES,
  ...RPMB_CLAUSES,
];
