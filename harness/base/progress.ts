/**
 * How a long operation tells a person what it is doing. Implementations write to stderr only:
 * a bar on a terminal, plain lines elsewhere.
 */
export interface Progress {
  /** A stage begins; `done` is called when it ends, with an optional remark. */
  stage(title: string): { done(remark?: string): void; failed(remark?: string): void };
  /** A line of information. */
  note(text: string): void;
  /** Something a person should see even when they are not watching. */
  warn(text: string): void;
  /** Counted work: `done` of `total` items; `label` names the current one. */
  count(done: number, total: number, label: string): void;
}

export const silentProgress: Progress = {
  stage: () => ({ done: () => {}, failed: () => {} }),
  note: () => {},
  warn: () => {},
  count: () => {},
};
