/** A table of numbers with its inverse, so that a trace can say what a number means. */
export interface NameTable {
  /** The upstream name of `value`, or the value in hexadecimal when it has none. */
  (value: number): string;
  /** The upstream name of `value`, if it has one. */
  readonly find: (value: number) => string | undefined;
}

/** Builds the inverse of `table`; of two names with one value the first wins. */
export function nameTable(table: Readonly<Record<string, number>>): NameTable {
  const names = new Map<number, string>();
  for (const [name, value] of Object.entries(table)) {
    if (!names.has(value)) names.set(value, name);
  }
  const find = (value: number): string | undefined => names.get(value);
  return Object.assign(
    (value: number): string => find(value) ?? `0x${value.toString(16).padStart(8, "0")}`,
    { find },
  );
}
