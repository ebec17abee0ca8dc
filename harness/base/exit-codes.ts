/** Exit codes of the `lockstep` command. Scripts may rely on every one of them. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  infrastructure: 3,
  timeout: 4,
  crashed: 5,
  incomplete: 6,
  internal: 70,
  interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

const WORST_FIRST: readonly ExitCode[] = [
  EXIT.interrupted,
  EXIT.internal,
  EXIT.usage,
  EXIT.infrastructure,
  EXIT.crashed,
  EXIT.timeout,
  EXIT.incomplete,
  EXIT.failed,
];

/** When several codes apply to one run, the one to exit with; 0 for an empty list. */
export function worstExit(codes: Iterable<ExitCode>): ExitCode {
  const seen = new Set(codes);
  return WORST_FIRST.find((code) => seen.has(code)) ?? EXIT.ok;
}
