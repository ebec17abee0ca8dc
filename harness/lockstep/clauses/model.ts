/** The conduits a clause can speak of, as boards declare them. */
export type ClauseConduit = "direct" | "hwdom" | "vm";

/**
 * One rule or table row of a sheet. Ids: `SMC-4.1.7` is rule 7 of section 4.1, `SMC-3.L2CC_MUTEX` a
 * row of section 3's table, `MED-060` a rule of the mediator sheet, which numbers throughout.
 */
export interface Clause {
  readonly id: string;
  readonly sheet: SheetName;
  readonly section: string;
  /** R: behaviour to reproduce, S: security property, D: defect of Xen's mediator (`xen` has it). */
  readonly level?: "R" | "S" | "D";
  /** When it holds, where that is not always. */
  readonly condition?: string;
  readonly conduit?: ClauseConduit;
  /** Where a mediator must stand for it to hold; both when left out. */
  readonly placement?: "hypervisor" | "vmm";
  /** What it says, in one line. */
  readonly summary: string;
  /** Project, path and symbol that it was read from. */
  readonly source: string;
  readonly status: "implemented" | "out-of-scope";
  /** Why it is out of scope; given exactly then. */
  readonly reason?: string;
}

/** The sheets, in the order in which they are listed. */
export const SHEETS = ["MED", "SMC", "MSG", "TEE", "RPMB"] as const;
export type SheetName = (typeof SHEETS)[number];

export const SHEET_TITLES: Readonly<Record<SheetName, string>> = {
  MED: "mediator",
  SMC: "SMC ABI",
  MSG: "messages and RPC commands",
  TEE: "Linux TEE user ABI",
  RPMB: "RPMB",
};
