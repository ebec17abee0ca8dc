const NEWLINE = 0x0a;
/** A line without an end is shown once it has this many bytes. */
const LONGEST_LINE = 65_536;

/**
 * Puts the bytes of several consoles on one screen. A single one, and the primary one of several,
 * passes as it is; the others come as whole lines with their name before them, on lines of their own.
 */
export function consoleView(
  shown: readonly string[],
  primary: string,
  write: (bytes: Uint8Array) => void,
): (stream: string, bytes: Uint8Array) => void {
  const plain = shown.length === 1 ? shown[0] : primary;
  const pending = new Map<string, Buffer>();
  let atLineStart = true;
  return (stream, bytes) => {
    if (!shown.includes(stream) || bytes.length === 0) return;
    if (stream === plain) {
      write(bytes);
      atLineStart = bytes.at(-1) === NEWLINE;
      return;
    }
    const text = Buffer.concat([pending.get(stream) ?? Buffer.alloc(0), bytes]);
    const end = text.length > LONGEST_LINE ? text.length : text.lastIndexOf(NEWLINE) + 1;
    pending.set(stream, text.subarray(end));
    for (let from = 0; from < end;) {
      const next = text.indexOf(NEWLINE, from) + 1 || end;
      const lead = atLineStart ? "" : "\r\n";
      write(Buffer.concat([Buffer.from(`${lead}${stream}| `), text.subarray(from, next)]));
      atLineStart = text[next - 1] === NEWLINE;
      from = next;
    }
  };
}
