/** What a line of OP-TEE's about its RPMB key says; the wording is OP-TEE's own, 4.x. */
export interface OpteeLine {
  readonly says:
    | "blank"
    | "writing"
    | "verifying"
    | "working"
    | "not ready"
    | "mismatch"
    | "test key"
    | "generated key"
    | "no key";
  /** In words; nothing of the line itself, which may be followed by the key. */
  readonly text: string;
}

const LINES: readonly (OpteeLine & { readonly pattern: RegExp })[] = [
  {
    says: "not ready",
    pattern: /RPMB INIT: platform indicates RPMB key is not ready/i,
    text: "the platform says that the key is not ready",
  },
  {
    says: "blank",
    pattern: /RPMB INIT: Auth key not yet written/i,
    text: "it found the part blank",
  },
  { says: "writing", pattern: /RPMB INIT: Writing Key/i, text: "it wrote the key" },
  { says: "verifying", pattern: /RPMB INIT: Verifying Key/i, text: "it verified the key" },
  {
    says: "test key",
    pattern: /RPMB: Using test key/i,
    text: "it uses the published test key",
  },
  {
    says: "generated key",
    pattern: /RPMB: Using generated key/i,
    text: "it uses the key that it derived",
  },
  {
    says: "working",
    pattern: /Found working RPMB device/i,
    text: "it found a working RPMB device",
  },
  {
    says: "mismatch",
    pattern: /MAC mismatched/i,
    text: "the part's MAC is not of the key that it derived",
  },
  {
    says: "no key",
    pattern: /RPMB INIT: CFG_RPMB_WRITE_KEY is not set/i,
    text: "it may not write a key",
  },
];

/** What OP-TEE says of its RPMB key in a line of its console; undefined for every other line. */
export function opteeLine(text: string): OpteeLine | undefined {
  const found = LINES.find(({ pattern }) => pattern.test(text));
  return found === undefined ? undefined : { says: found.says, text: found.text };
}

/** The first of each kind, in words, for a report. */
export function summarizeLines(lines: readonly OpteeLine[]): string {
  const texts = [...new Set(lines.map(({ text }) => text))];
  return texts.length === 0 ? "OP-TEE said nothing of it on its console" : texts.join("; ");
}
