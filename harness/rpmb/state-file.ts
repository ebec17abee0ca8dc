import { UsageError } from "../base/index.ts";
import { EmmcRpmb, type EmmcRpmbOptions } from "./emmc.ts";
import { StateOnDisk, readStateFile } from "./state-disk.ts";
import { encodeState, loadState, StateJournal } from "./state-journal.ts";
import { RpmbStateError } from "./state-layout.ts";

export interface RpmbStateOptions {
  /** The part to make where there is no file yet. Of an existing one, CID and size must agree. */
  readonly create?: EmmcRpmbOptions;
  /**
   * Whether each change is on the disk before it is answered, default true: nothing answered is lost
   * when the machine fails. Without it nothing is lost when the process does, and a failure of the
   * machine is found out or loses the last changes.
   */
  readonly sync?: boolean;
}

/**
 * The part whose key, counter, data and configuration are in a file, which is this process's alone
 * until `close` or its end. Throws RpmbStateError where the file is damaged, no state file, in use
 * by another process, readable by others than its owner, or missing with nothing to `create`;
 * UsageError where it is another part than `create` says; RangeError for a part that cannot exist.
 */
export function openRpmbState(path: string, options: RpmbStateOptions = {}): EmmcRpmb {
  const { create, sync = true } = options;
  const blank = create === undefined ? undefined : new EmmcRpmb(create);
  const existing = StateOnDisk.open(path, { sync });
  if (existing !== undefined) {
    try {
      return load(existing, blank);
    } catch (error) {
      existing.close();
      throw error;
    }
  }
  if (blank === undefined) throw new RpmbStateError("there is no such state file", path);
  const bytes = encodeState(blank.snapshot());
  try {
    const made = StateOnDisk.create(path, bytes, { sync });
    return EmmcRpmb.from(blank.snapshot(), new StateJournal(made, loadState(bytes, path)));
  } finally {
    bytes.fill(0);
  }
}

function load(file: StateOnDisk, wanted: EmmcRpmb | undefined): EmmcRpmb {
  const bytes = file.read();
  try {
    const loaded = loadState(bytes, file.where);
    const part = EmmcRpmb.from(loaded.snapshot, new StateJournal(file, loaded));
    if (wanted !== undefined) checkSame(part, wanted, file.where);
    return part;
  } finally {
    bytes.fill(0);
  }
}

/**
 * A part in memory that is as the file says, for looking at it: nothing that happens to it reaches
 * the file. Throws RpmbStateError as `openRpmbState` does.
 */
export function readRpmbState(path: string): EmmcRpmb {
  const bytes = readStateFile(path);
  try {
    return EmmcRpmb.from(loadState(bytes, path).snapshot);
  } finally {
    bytes.fill(0);
  }
}

const describe = (part: EmmcRpmb): string =>
  `CID ${Buffer.from(part.cid).toString("hex")}, size multiplier ${part.sizeMultiplier}`;

function checkSame(part: EmmcRpmb, wanted: EmmcRpmb, where: string): void {
  if (describe(part) === describe(wanted)) return;
  throw new UsageError("the state file is of another part", {
    expected: describe(wanted),
    seen: describe(part),
    where,
    next: "Name another file, or the part that this one is of",
  });
}
