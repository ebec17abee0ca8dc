/** When a line was finished. */
export interface LineTime {
  /** Milliseconds since an arbitrary start, with fractions; never goes back. */
  readonly monotonicMs: number;
  /** Milliseconds since the Unix epoch. */
  readonly wallMs: number;
}

/** Who watches a board's consoles and stages; the bundle writer is adapted to this. */
export interface BoardObserver {
  /** Raw bytes of a console, in order, exactly once. */
  raw(stream: string, bytes: Uint8Array): void;
  /**
   * A finished line: `offset` is the byte offset of its start in the raw stream; text has VT100 and
   * control characters removed. A line of more than 16 KiB arrives in pieces.
   */
  line(stream: string, offset: number, text: string, at: LineTime): void;
  stageStart(stage: string): void;
  stageEnd(stage: string, ok: boolean, remark?: string): void;
}
