import type { Incident } from "../live.ts";

export interface IncidentPattern {
  readonly kind: Incident["kind"];
  readonly what: string;
  readonly pattern: RegExp;
}

/**
 * What software prints when it is finished, wherever it prints it: two worlds share many a UART, so
 * only parts of lines are looked for. A TA that panics or aborts is no incident: tests provoke that,
 * and OP-TEE reports it with other words (`TA panicked`, `User mode data-abort`).
 */
export const CRASHES: readonly IncidentPattern[] = [
  {
    kind: "hang",
    what: "hard lockup",
    pattern: /Watchdog detected hard LOCKUP|hard LOCKUP on cpu/,
  },
  { kind: "hang", what: "soft lockup", pattern: /BUG: soft lockup/ },
  { kind: "hang", what: "workqueue lockup", pattern: /BUG: workqueue lockup/ },
  {
    kind: "hang",
    what: "RCU stall",
    pattern:
      /rcu: INFO: rcu_\w+ (?:self-)?detected (?:expedited )?stalls? on|rcu_\w+ kthread starved/,
  },
  { kind: "crash", what: "kernel panic", pattern: /Kernel panic - not syncing/ },
  {
    kind: "crash",
    what: "kernel oops",
    pattern:
      /\bInternal error: |Unable to handle kernel |\bkernel BUG at |(?<![A-Z])BUG: (?:KASAN|KFENCE|unable to handle|scheduling while atomic|Bad page|sleeping function)/,
  },
  {
    kind: "crash",
    what: "OP-TEE core panic",
    pattern: /\b[EF]\/TC:.*\bPanic(?: '| at )/,
  },
  { kind: "crash", what: "OP-TEE assertion", pattern: /\b[EF]\/TC:.*\bassertion '.*' failed/ },
  {
    kind: "crash",
    what: "OP-TEE core abort",
    pattern: /\b[EF]\/TC:.*\b(?:Core (?:data|prefetch|undef)-abort|[Uu]nhandled pageable abort)/,
  },
  {
    kind: "crash",
    what: "TF-A panic",
    pattern:
      /\bPANIC (?:in EL3|at PC ?:)|^ASSERT: .*:\d+|\bUnhandled (?:Exception|External Abort) (?:in|at|received)/,
  },
  {
    kind: "crash",
    what: "Xen panic",
    pattern: /\(XEN\) (?:\[[^\]]*\] )?(?:Panic on CPU \d|Xen BUG at |Assertion '.*' failed)/,
  },
  {
    kind: "crash",
    what: "Xen stopped its first guest",
    pattern:
      /\(XEN\) (?:\[[^\]]*\] )?(?:Domain 0 (?:\(vcpu#\d+\)|reported) crashed|Hardware Dom0 (?:crashed|halted|shutdown))/,
  },
  {
    kind: "crash",
    what: "U-Boot crash",
    pattern: /"(?:Synchronous Abort|Error)" handler|### ERROR ### Please RESET the board/,
  },
];

/** The first line of each program in the boot chain. Seen where nobody boots, the board was reset. */
export const BANNERS: readonly { readonly what: string; readonly pattern: RegExp }[] = [
  { what: "TF-A", pattern: /^NOTICE: {2}(?:Booting Trusted Firmware|BL1: v\d)/ },
  { what: "U-Boot SPL", pattern: /^U-Boot SPL \d{4}\./ },
  { what: "U-Boot", pattern: /^U-Boot \d{4}\.\d/ },
  { what: "Linux", pattern: /^(?:\[ {4}0\.000000\] )?Booting Linux on physical CPU/ },
];

/** A shell or login that starts anew on a console where one was in use. */
export const NEW_LOGIN =
  /^BusyBox v\d\S* .*built-in shell \(\w+\)|^Please press Enter to activate this console/;

/** What a line must hold to be worth the whole list: most lines do not. */
export const SUSPICIOUS =
  /LOCKUP|lockup|stall|starved|anic|PANIC|Assertion|Dom0|Domain 0|Internal error|Unable to handle|BUG|assertion|ASSERT|abort|Unhandled|Abort|### ERROR|U-Boot|Booting|BL1|BusyBox|Please press/;
