/** What the builder reads of a 64-bit little-endian ELF file. Layout: ELF-64 object file format. */
export interface ElfFile {
  /** Shared libraries that the file needs, as in its dynamic section. */
  readonly needed: readonly string[];
  /** Dynamic loader, if it is a program. */
  readonly interpreter: string | undefined;
  /** `key=value` strings of a kernel module's `.modinfo`, in order. */
  readonly modinfo: readonly (readonly [key: string, value: string])[];
}

const SECTION_HEADER = { size: 64, name: 0, type: 4, offset: 24, bytes: 32, link: 40 } as const;
const DYNAMIC_TYPE = 6;
const DT_NEEDED = 1;

interface Section {
  readonly name: string;
  readonly type: number;
  readonly link: number;
  readonly content: Buffer;
}

/** Undefined if `bytes` is no such ELF file; every offset in it is checked before use. */
export function readElf(bytes: Buffer): ElfFile | undefined {
  if (bytes.length < 64 || bytes.readUInt32BE(0) !== 0x7f454c46) return undefined;
  if (bytes[4] !== 2 || bytes[5] !== 1) return undefined;
  const sections = readSections(bytes);
  const byName = (name: string): Buffer | undefined =>
    sections.find((section) => section.name === name)?.content;
  const dynamic = sections.find((section) => section.type === DYNAMIC_TYPE);
  const strings = dynamic === undefined ? undefined : sections[dynamic.link]?.content;
  const interpreter = byName(".interp");
  return {
    needed: dynamic === undefined || strings === undefined ? [] : neededBy(dynamic, strings),
    interpreter: interpreter === undefined ? undefined : stringAt(interpreter, 0),
    modinfo: (byName(".modinfo") ?? Buffer.alloc(0))
      .toString("utf8")
      .split("\0")
      .filter((text) => text.includes("="))
      .map(
        (text) => [text.slice(0, text.indexOf("=")), text.slice(text.indexOf("=") + 1)] as const,
      ),
  };
}

function readSections(bytes: Buffer): Section[] {
  const start = Number(bytes.readBigUInt64LE(40));
  const count = bytes.readUInt16LE(60);
  const namesIndex = bytes.readUInt16LE(62);
  if (bytes.readUInt16LE(58) !== SECTION_HEADER.size) return [];
  if (start + count * SECTION_HEADER.size > bytes.length) return [];
  const raw = Array.from({ length: count }, (_, index) => {
    const at = start + index * SECTION_HEADER.size;
    const offset = Number(bytes.readBigUInt64LE(at + SECTION_HEADER.offset));
    const size = Number(bytes.readBigUInt64LE(at + SECTION_HEADER.bytes));
    return {
      nameAt: bytes.readUInt32LE(at + SECTION_HEADER.name),
      type: bytes.readUInt32LE(at + SECTION_HEADER.type),
      link: bytes.readUInt32LE(at + SECTION_HEADER.link),
      // subarray clamps what lies beyond the end of the file
      content: bytes.subarray(offset, offset + size),
    };
  });
  const names = raw[namesIndex]?.content ?? Buffer.alloc(0);
  return raw.map(({ nameAt, ...rest }) => ({ name: stringAt(names, nameAt), ...rest }));
}

function neededBy(dynamic: Section, strings: Buffer): string[] {
  const out: string[] = [];
  for (let at = 0; at + 16 <= dynamic.content.length; at += 16) {
    if (dynamic.content.readBigInt64LE(at) === BigInt(DT_NEEDED)) {
      out.push(stringAt(strings, Number(dynamic.content.readBigUInt64LE(at + 8))));
    }
  }
  return out;
}

function stringAt(table: Buffer, at: number): string {
  const end = table.indexOf(0, at);
  return table.toString("utf8", at, end < 0 ? table.length : end);
}
