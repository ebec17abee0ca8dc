/** Who watches a board's consoles and stages; the bundle writer is adapted to this. */
export interface BoardObserver {
  /** Raw bytes of a console, in order, exactly once. */
  raw(stream: string, bytes: Uint8Array): void;
  /** A finished line: `offset` is the byte offset of its start in the raw stream; text has VT100 removed. */
  line(stream: string, offset: number, text: string): void;
  stageStart(stage: string): void;
  stageEnd(stage: string, ok: boolean, remark?: string): void;
}
