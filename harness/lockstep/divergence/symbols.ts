import type { FieldValue, SymbolClass } from "./model.ts";

export type SymbolValue = Extract<FieldValue, { kind: "symbol" }>;

interface Pair {
  readonly of: SymbolClass;
  readonly number: number;
  readonly left: string;
  readonly right: string;
}

export type Side = "left" | "right";

/**
 * What scenarios return of what is named by symbols. Threads, clients and the like are small numbers on
 * both sides: a count that happens to equal one is not meant.
 */
const RETURNED: ReadonlySet<SymbolClass> = new Set(["page", "cookie", "session", "version"]);

/** Which symbol of the left is which of the right, as far as two traces have been compared. */
export class Bijection {
  readonly #left = new Map<string, Pair>();
  readonly #right = new Map<string, Pair>();
  readonly #counts = new Map<SymbolClass, number>();

  /**
   * Whether the two may stand for the same: they do already, or both are new, or here they get their
   * names. What is beside the identity must be equal. Two that agree are paired from here on.
   */
  match(left: SymbolValue, right: SymbolValue): boolean {
    if (left.of !== right.of || left.beside !== right.beside) return false;
    const [l, r] = [keyOf(left), keyOf(right)];
    const [ofLeft, ofRight] = [this.#left.get(l), this.#right.get(r)];
    if (ofLeft !== undefined && ofLeft === ofRight) return true;
    if (ofLeft !== undefined || ofRight !== undefined) {
      if (!left.names || !right.names) return false;
      this.#drop(ofLeft);
      this.#drop(ofRight);
    }
    this.#pair(left.of, l, r);
    return true;
  }

  /** `cookie#2`, with what is beside it; `cookie(new)` for what is not paired. */
  show(side: Side, value: SymbolValue): string {
    const pair = (side === "left" ? this.#left : this.#right).get(keyOf(value));
    const name = pair === undefined ? `${value.of}(new)` : `${value.of}#${pair.number}`;
    return name + value.beside;
  }

  /** Whether two numbers stand for one symbol that was paired and can be returned, or for places in one page. */
  sameNumber(left: bigint, right: bigint): boolean {
    for (const { of, left: l, right: r } of this.#left.values()) {
      if (!RETURNED.has(of)) continue;
      const isPage = of === "page";
      if (isPage && (left & 0xfffn) !== (right & 0xfffn)) continue;
      const shift = isPage ? 12n : 0n;
      if (valueOf(l) === left >> shift && valueOf(r) === right >> shift) return true;
    }
    return false;
  }

  #pair(of: SymbolClass, left: string, right: string): void {
    const number = (this.#counts.get(of) ?? 0) + 1;
    this.#counts.set(of, number);
    const pair: Pair = { of, number, left, right };
    this.#left.set(left, pair);
    this.#right.set(right, pair);
  }

  #drop(pair: Pair | undefined): void {
    if (pair === undefined) return;
    this.#left.delete(pair.left);
    this.#right.delete(pair.right);
  }
}

const keyOf = ({ of, key }: SymbolValue): string => `${of} ${key}`;
const valueOf = (key: string): bigint => BigInt(`0x${key.slice(key.lastIndexOf(":") + 1)}`);

/** Names of the symbols of one trace, numbered by first appearance. */
export class SymbolNames {
  readonly #names = new Map<string, string>();
  readonly #counts = new Map<SymbolClass, number>();

  show(value: SymbolValue): string {
    const key = keyOf(value);
    let name = this.#names.get(key);
    if (name === undefined) {
      const number = (this.#counts.get(value.of) ?? 0) + 1;
      this.#counts.set(value.of, number);
      name = `${value.of}#${number}`;
      this.#names.set(key, name);
    }
    return name + value.beside;
  }
}
