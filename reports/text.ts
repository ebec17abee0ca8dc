/** Characters that XML 1.0 cannot hold, not even escaped: most controls, lone surrogates, U+FFFE and U+FFFF. */
const NOT_XML = /[\p{Cc}\p{Cs}\u{fffe}\u{ffff}]/gu;

/** A visible stand-in: control pictures for C0 and DEL, `\u{…}` in text for the others. */
function picture(character: string): string {
  if (character === "\t" || character === "\n" || character === "\r") return character;
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `\\u{${code.toString(16)}}`;
}

/** Text in which every character is printable or one of tab, line feed, carriage return. */
export function printable(text: string): string {
  return text.replaceAll(NOT_XML, picture);
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** Text for an XML or HTML element or quoted attribute, from anything at all. */
export function escapeMarkup(text: string): string {
  return printable(text).replaceAll(/[&<>"']/g, (character) => ENTITIES[character] ?? "");
}

/** The same for an XML attribute, where parsers would turn line ends and tabs into spaces. */
export function escapeAttribute(text: string): string {
  return escapeMarkup(text).replaceAll(
    /[\t\n\r]/g,
    (character) => `&#${character.codePointAt(0) ?? 0};`,
  );
}

/** One line: line ends become ` / `. */
export function oneLine(text: string): string {
  return text.trim().replaceAll(/\s*[\r\n]+\s*/g, " / ");
}
