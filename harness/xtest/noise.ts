import type { Evidence } from "./model.ts";

/** Kernel time stamp, with the optional caller field of CONFIG_PRINTK_CALLER. */
const KERNEL = String.raw`\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])? `;
/** OP-TEE trace prefix: level, then core, TA or loader. */
const SECURE = String.raw`[DIEFM]\/(?:TC|TA|LD):`;

const FOREIGN = new RegExp(`${KERNEL}|${SECURE}`);
const KERNEL_STAMP = new RegExp(`^${KERNEL}`);

const ESC = String.fromCharCode(27);
/** CSI, OSC, charset selections and the two-character sequences of a VT100. */
const ESCAPES = new RegExp(
  `${ESC}(?:\\[[0-?]*[ -/]*[@-~]|\\][^${String.fromCharCode(7)}${ESC}]*(?:${String.fromCharCode(7)}|${ESC}\\\\)?|[ -/]+[0-~]|[0-~])`,
  "g",
);
const CONTROLS = new RegExp(
  `[${String.fromCharCode(0)}-${String.fromCharCode(8)}${String.fromCharCode(11)}-${String.fromCharCode(31)}${String.fromCharCode(127)}]`,
  "g",
);

/** True where `line` holds terminal control bytes that `clean` would take out. */
export function isDirty(line: string): boolean {
  for (let i = 0; i < line.length; i++) {
    const code = line.charCodeAt(i);
    if ((code < 32 && code !== 9) || code === 127) return true;
  }
  return false;
}

/** `line` without VT100 sequences and control bytes. */
export function clean(line: string): string {
  return line.replace(ESCAPES, "").replace(CONTROLS, "");
}

/** Where kernel or secure-world text begins in a line; -1 where there is none. */
export function foreignStart(line: string): number {
  const bracket = line.indexOf("[");
  if (bracket === -1 && line.indexOf("/") === -1) return -1;
  return FOREIGN.exec(line)?.index ?? -1;
}

interface Pattern {
  readonly kind: Evidence["kind"];
  readonly what: string;
  readonly match: RegExp;
}

/**
 * A TA that panics or aborts in user mode is no evidence: xtest provokes that on purpose
 * (regression_1007, 1010, 1040). Kernel and core texts are.
 */
const PATTERNS: readonly Pattern[] = [
  { kind: "crash", what: "kernel panic", match: /Kernel panic - not syncing/ },
  { kind: "crash", what: "kernel oops", match: /Internal error: |Unable to handle kernel / },
  { kind: "crash", what: "kernel BUG", match: /kernel BUG at |^BUG: (?!soft lockup)/ },
  {
    kind: "crash",
    what: "OP-TEE core panic",
    match: /[EF]\/TC:.*(?:\bPanic (?:at |')|assertion '.*' failed)/,
  },
  {
    kind: "crash",
    what: "OP-TEE core abort",
    match: /[EF]\/TC:.*\b[Cc]ore (?:data|prefetch|undef)-abort/,
  },
  {
    kind: "crash",
    what: "TF-A panic",
    match: /PANIC in EL3|Unhandled (?:Exception|External Abort) in EL3|^ASSERT: /,
  },
  { kind: "crash", what: "U-Boot abort", match: /^"(?:Synchronous|Error)" (?:Abort|handler)/ },
  { kind: "hang", what: "hard lockup", match: /hard LOCKUP/i },
  { kind: "hang", what: "soft lockup", match: /BUG: soft lockup/ },
  {
    kind: "hang",
    what: "RCU stall",
    match: /\brcu\b.*(?:self-detected stall|detected stalls?|detected expedited stalls)/,
  },
  { kind: "hang", what: "hung task", match: /^INFO: task .* blocked for more than/ },
  { kind: "boot", what: "TF-A boot banner", match: /^NOTICE: {2}(?:Booting Trusted|BL[12]: v)/ },
  { kind: "boot", what: "U-Boot banner", match: /^U-Boot (?:SPL |TPL )?20\d\d\.\d\d/ },
  {
    kind: "boot",
    what: "OP-TEE boot banner",
    match: /^I\/TC:.*(?:OP-TEE version: |Primary CPU initializing)/,
  },
  { kind: "boot", what: "Linux boot banner", match: /^Booting Linux on physical CPU/ },
];

/** Letters with which every pattern above is bound to occur, to pass over other lines cheaply. */
const HINT =
  /[Pp]anic|PANIC|Internal error|Unable to|BUG|abort|Abort|assertion|ASSERT|Unhandled|Error" handler|LOCKUP|lockup|rcu|blocked for|NOTICE|U-Boot|OP-TEE version|Primary CPU|Booting/;

/** Without what differs between two boards that end alike: addresses, processor and process numbers. */
function steady(text: string): string {
  return text
    .replace(/\b0x[0-9a-f]{4,}/gi, "0x…")
    .replace(/\b(cpus?|pid)([ :#]*)\d+/gi, "$1$2N")
    .replace(/\bstuck for \d+s/, "stuck")
    .replace(/\[([\w.-]+):\d+\]/g, "[$1]")
    .trim()
    .slice(0, 200);
}

/**
 * A console line as a reason for people: without the prompt or text that it interrupted and
 * without its time stamp, so that two runs that end alike say the same.
 */
export function essence(line: string): string {
  const text = clean(line);
  const at = foreignStart(text);
  return text.slice(Math.max(at, 0)).replace(KERNEL_STAMP, "").trim().slice(0, 200);
}

/** What a cleaned line proves about the board; undefined for ordinary lines. */
export function evidenceIn(line: string): Evidence | undefined {
  if (!HINT.test(line)) return undefined;
  const text = line.replace(KERNEL_STAMP, "").trim();
  const hit = PATTERNS.find((pattern) => pattern.match.test(text));
  if (hit === undefined) return undefined;
  return { kind: hit.kind, what: hit.what, line: steady(text) };
}
