import { randomBytes } from "node:crypto";
import type { FrameTokens } from "./frame-reader.ts";

/**
 * The functions that a console shell is taught once per login; POSIX shell, no program needed for
 * the first three. `_lb` prints the first mark, `_le` the end mark (again), `_lk` runs a command in a
 * subshell between them, `_lx` keeps stdout and stderr in files and sends them encoded with their
 * checksums, `_lz` sends them again. `_lr` is 998 while nothing has ended, 999 if the files cannot
 * be written. The end mark is made from what the running command was called with, so asking for it
 * when the command never arrived shows old tokens, which nobody looks for.
 */
export const PLAIN_SETUP: readonly string[] = [
  "_le(){ printf '%s%s %d %d\\n' $_l2 $_l1 $_lr $((_lr*7919+_l3));}",
  "_lb(){ _lr=998;_l1=$1;_l2=$2;_l3=$3;printf '%s%s\\n' $1 $2;}",
  '_lk(){ _lb $1 $2 $3;(_lc=$4;shift 4;eval "$_lc")</dev/null;_lr=$?;_le;}',
];

export const EXACT_SETUP: readonly string[] = [
  'for _ld in "${TMPDIR:-/tmp}" /tmp /run /dev/shm /;do [ -w "$_ld" ]&&break;done;_lf=$_ld/.lockstep.$$',
  '(umask 77;true >"$_lf.o";true >"$_lf.e")',
  '_ly(){ base64 <"$_lf.o";echo -;base64 <"$_lf.e";echo -;sha256sum <"$_lf.o";sha256sum <"$_lf.e";}',
  '_lw(){ (_lc=$4;shift 4;eval "$_lc")</dev/null >"$_lf.o" 2>"$_lf.e";_lr=$?;}',
  '_lx(){ _lb $1 $2 $3;_lr=999;true >"$_lf.o"&&true >"$_lf.e"&&_lw "$@";_ly;_le;}',
  "_lz(){ _lc=$_lr;_lb $1 $2 $3;_lr=$_lc;_ly;_le;}",
];

/** Removes what `EXACT_SETUP` left on the board. */
export const CLEAN_UP = 'rm -f "$_lf.o" "$_lf.e"';

/** `_lr` values that are not exit codes. */
export const NOT_ENDED = 998;
export const NOT_WRITABLE = 999;

export function newTokens(): FrameTokens {
  const bytes = randomBytes(12);
  return {
    first: bytes.toString("hex", 0, 4),
    second: bytes.toString("hex", 4, 8),
    key: bytes.readUInt32LE(8) % 100_000,
  };
}

/** Longest line that is typed at once: busybox's line editor takes 1023 bytes. */
const MAX_TYPED = 900;
const MAX_PLAIN = 800;

/**
 * The lines to type for `fn` with `command`. Short printable ASCII goes in single quotes as it is;
 * everything else is first put together in a variable, piece by piece and with octal escapes, since
 * a newline or a tab would not survive being typed.
 */
export function typedLines(fn: string, tokens: FrameTokens, command: string): string[] {
  const names = `${tokens.first} ${tokens.second} ${tokens.key}`;
  if (fn === "_lk" && isPlain(command)) {
    return [`_lb ${names};(${command})</dev/null;_lr=$?;_le`];
  }
  const call = `${fn} ${names}`;
  const bytes = Buffer.from(command, "utf8");
  if (bytes.every(printable)) {
    const direct = `${call} '${command.replaceAll("'", "'\\''")}'`;
    if (direct.length <= MAX_TYPED) return [direct];
  }
  return ["_la=", ...pieces(bytes), `${call} "$_la"`];
}

const PLAIN = /^[A-Za-z0-9_./:=,+@%-]+(?: [A-Za-z0-9_./:=,+@%-]+)*$/;
const RESERVED =
  /^(?:if|then|else|elif|fi|do|done|case|esac|while|until|for|in|select|function|coproc|time)\b/;

/**
 * Whether `command` is words and nothing else: it can stand in the typed line as it is, where the
 * shell starts it with one fork instead of the two that `eval` takes.
 */
function isPlain(command: string): boolean {
  return command.length <= MAX_PLAIN && PLAIN.test(command) && !RESERVED.test(command);
}

/** Whether a console line is the echo of a line that we typed: what it says has not happened. */
export function isTyped(line: string): boolean {
  return /\b_l[bkxz] [0-9a-f]{8} [0-9a-f]{8} |\b_lq=\$\(printf /.test(line);
}

function printable(byte: number): boolean {
  return byte >= 0x20 && byte < 0x7f;
}

/** The dot keeps newlines at a piece's end, which command substitution would drop. */
function* pieces(bytes: Uint8Array): Generator<string> {
  let piece = "";
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    piece +=
      printable(byte) && !"%\\'".includes(character)
        ? character
        : `\\${byte.toString(8).padStart(3, "0")}`;
    if (piece.length > MAX_TYPED - 50) {
      yield `_lq=$(printf '${piece}.');_la=$_la\${_lq%.}`;
      piece = "";
    }
  }
  if (piece !== "") yield `_lq=$(printf '${piece}.');_la=$_la\${_lq%.}`;
}
