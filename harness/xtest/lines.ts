/** The shapes of the lines that xtest prints (host/xtest/adbg), as pure functions over one line. */

const SPACE = 32;
const STAR = 42;
const LOWER_O = 111;
const DOT = 46;
const UNDERSCORE = 95;
const isDigit = (code: number): boolean => code >= 48 && code <= 57;
const isLetter = (code: number): boolean =>
  (code >= 97 && code <= 122) || (code >= 65 && code <= 90);

/** xtest cuts ids at 79 characters. */
const MAX_ID = 79;

/** What `text` is as an id: `case` (`regression_4007_dh`), `subcase` (`regression_1013.1.2`), or neither. */
export function idKind(text: string): "case" | "subcase" | undefined {
  const length = text.length;
  if (length < 3 || length > MAX_ID || !isLetter(text.charCodeAt(0))) return undefined;
  let i = 1;
  let underscore = false;
  for (; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code === UNDERSCORE) underscore = true;
    else if (code === DOT) break;
    else if (!isLetter(code) && !isDigit(code)) return undefined;
  }
  if (!underscore) return undefined;
  if (i === length) return "case";
  let previous = 0;
  for (; i < length; i++) {
    const code = text.charCodeAt(i);
    if (code === DOT ? previous === DOT : !isDigit(code)) return undefined;
    previous = code;
  }
  return previous === DOT ? undefined : "subcase";
}

/** A line that starts or ends a case or subcase. `parent` is the id up to the last dot. */
export type ResultLine =
  | { readonly kind: "case"; readonly id: string; readonly title: string }
  | {
      readonly kind: "subcase";
      readonly id: string;
      readonly parent: string;
      readonly title: string;
    }
  | { readonly kind: "verdict"; readonly id: string; readonly verdict: "OK" | "FAILED" }
  | Listed;

/** Reads `* id title`, `o id title` and `  id OK`, given one character a byte. */
export function resultLine(line: string): ResultLine | undefined {
  if (line.charCodeAt(1) !== SPACE) return undefined;
  switch (line.charCodeAt(0)) {
    case SPACE: {
      const verdict = line.endsWith(" OK") ? "OK" : line.endsWith(" FAILED") ? "FAILED" : undefined;
      if (verdict === undefined) return undefined;
      const id = line.slice(2, -verdict.length - 1);
      return idKind(id) === undefined ? undefined : { kind: "verdict", id: utf8(id), verdict };
    }
    case STAR:
    case LOWER_O: {
      const space = line.indexOf(" ", 2);
      const id = utf8(space === -1 ? line.slice(2) : line.slice(2, space));
      const title = space === -1 ? "" : utf8(line.slice(space + 1));
      const kind = idKind(id);
      if (kind !== (line.charCodeAt(0) === STAR ? "case" : "subcase")) return undefined;
      if (kind === "case") return { kind, id, title };
      return { kind: "subcase", id, parent: utf8(id.slice(0, id.lastIndexOf("."))), title };
    }
    default:
      return undefined;
  }
}

/** A flat string with the UTF-8 put together that was read byte by byte. */
export function utf8(text: string): string {
  return Buffer.from(text, "latin1").toString("utf8");
}

export interface Listed {
  readonly kind: "listed";
  readonly id: string;
  readonly verdict: "OK" | "FAILED";
  readonly where: string | undefined;
}

const LISTED = /^([A-Za-z]\S{2,78}) (?:(OK)|FAILED(?: first error at (\S+:\d+))?)$/;

/** A line of the result list: `regression_1001.1 FAILED first error at regression_1000.c:12`. */
export function listedLine(line: string): Listed | undefined {
  const match = LISTED.exec(line);
  const id = match?.[1];
  if (match === null || id === undefined || idKind(id) === undefined) return undefined;
  const place = match[3];
  return {
    kind: "listed",
    id: utf8(id),
    verdict: match[2] === "OK" ? "OK" : "FAILED",
    where: place === undefined ? undefined : basename(utf8(place)),
  };
}

/** The file name of `…/host/xtest/regression_1000.c:12`: build folders differ, the place does not. */
function basename(place: string): string {
  return place.slice(Math.max(place.lastIndexOf("/"), place.lastIndexOf("\\")) + 1);
}

export type TotalsLine =
  | { readonly of: "subtests" | "cases"; readonly count: number; readonly failed: number }
  | { readonly of: "skipped"; readonly count: number };

const TOTALS =
  /^(\d{1,9}) (?:(?:(subtest)s?|test cases?) of which (\d{1,9}) failed|test cases? (?:was|were) skipped)$/;

export function totalsLine(line: string): TotalsLine | undefined {
  const match = TOTALS.exec(line);
  if (match === null) return undefined;
  const count = Number(match[1]);
  if (match[3] === undefined) return { of: "skipped", count };
  return { of: match[2] === undefined ? "cases" : "subtests", count, failed: Number(match[3]) };
}

/** "skip" in any of its forms as a word, and the one site of xtest that says it differently. */
const SKIP = /\bskip(?:s|ped|ping)?\b|^Ignore test due to /i;

/** The reason in a line by which a case says that it skips; undefined for other lines. */
export function skipReason(line: string): string | undefined {
  if (!SKIP.test(line)) return undefined;
  // ` - 1029 -   skip test, TA returned …`: the case number is no part of the reason.
  const text = line.replace(/^\s*-\s*\d+\s*-\s*/, "").trim();
  return text.slice(0, 200);
}
