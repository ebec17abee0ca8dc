/**
 * The rule by which xtest picks cases from its arguments after the options (host/xtest/adbg 4.5):
 * each argument matches as a substring, the last match decides, and a list that begins with `-x`
 * starts from all cases.
 */
export function xtestRuns(args: readonly string[], id: string): boolean {
  let match = args.length === 0 || args[0] === "-x";
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? "";
    if (arg === "-x") {
      const excluded = args[++i];
      if (excluded !== undefined && id.includes(excluded)) match = false;
    } else if (id.includes(arg)) match = true;
  }
  return match;
}
