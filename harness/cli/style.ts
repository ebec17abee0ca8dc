/** Colours for one stream. Every method returns its text unchanged where colour is off. */
export interface Style {
  readonly enabled: boolean;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
  bold(text: string): string;
  dim(text: string): string;
}

export function makeStyle(enabled: boolean): Style {
  const paint =
    (open: number, close: number) =>
    (text: string): string =>
      enabled ? `\u001B[${open}m${text}\u001B[${close}m` : text;
  return {
    enabled,
    red: paint(31, 39),
    green: paint(32, 39),
    yellow: paint(33, 39),
    bold: paint(1, 22),
    dim: paint(2, 22),
  };
}

/**
 * Whether to colour a stream: `--no-color` beats FORCE_COLOR beats NO_COLOR beats what the stream
 * is, as in Node itself (https://no-color.org, https://force-color.org).
 */
export function wantsColour(options: {
  readonly noColor: boolean;
  readonly env: NodeJS.ProcessEnv;
  readonly isTTY: boolean;
}): boolean {
  const { env } = options;
  if (options.noColor) return false;
  const force = env["FORCE_COLOR"];
  if (force !== undefined) return force !== "0" && force !== "false";
  const no = env["NO_COLOR"];
  if (no !== undefined && no !== "") return false;
  return options.isTTY && env["TERM"] !== "dumb";
}

/** `text` without control characters, so that what a board printed cannot drive the terminal. */
export function printable(text: string, keep = "\n\t"): string {
  // eslint-disable-next-line no-control-regex -- control characters are what it removes
  return text.replaceAll(/[\u0000-\u001F\u007F-\u009F]/g, (c) => (keep.includes(c) ? c : "\uFFFD"));
}
