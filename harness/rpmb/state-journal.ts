import { SIZE_UNIT } from "./frame.ts";
import { extCsdField } from "./registers.ts";
import type { RpmbCells, RpmbKeeper, RpmbPatch, RpmbSnapshot } from "./state.ts";
import {
  damaged,
  DATA_START,
  decodeHeader,
  decodeRecord,
  encodeHeader,
  encodeRecord,
  pageDigest,
  SLOT_SIZE,
  slotStart,
  STATE_FILE,
  STATE_RECORD,
  type StateRecord,
  xorInto,
} from "./state-layout.ts";

/** A file of fixed size that one process has for itself. What it throws is RpmbStateError. */
export interface StateFile {
  /** For messages. */
  readonly where: string;
  write(at: number, bytes: Uint8Array): void;
  /** When it returns, everything written before is kept whatever happens to the machine. */
  sync(): void;
  /** Puts other contents in the file's place, whole or not at all. */
  replace(bytes: Uint8Array): void;
  close(): void;
}

const { page: PAGE, slots: SLOTS } = STATE_FILE;

/** A state file's contents, checked, with what its last record changes applied. */
export interface LoadedState {
  readonly snapshot: RpmbSnapshot;
  /** The records whose data may not have come to their place, oldest first. */
  readonly redo: readonly StateRecord[];
  readonly last: StateRecord;
  readonly lastSlot: number;
  /** Of every page. */
  readonly digests: readonly Uint8Array[];
}

/**
 * Checks a whole file and brings it forward to the last record that is whole: the request it belongs
 * to is done, one whose record is torn never was. Throws RpmbStateError when nothing can be made of
 * the file.
 */
export function loadState(file: Uint8Array, where: string): LoadedState {
  const registers = decodeHeader(file, where);
  const data = new Uint8Array(file.subarray(DATA_START));
  const dataPages = (extCsdField(registers.extCsd, "RPMB_SIZE_MULT") * SIZE_UNIT) / PAGE;
  const records = Array.from({ length: SLOTS.count }, (_, slot) => {
    const start = slotStart(slot);
    return decodeRecord(file.subarray(start, start + SLOT_SIZE), dataPages);
  });
  const whole = records.filter((one) => one !== undefined);
  const [before, last = before] = whole.toSorted((one, other) => one.sequence - other.sequence);
  if (before === undefined || last === undefined) throw damaged("both records are damaged", where);
  if (before !== last && before.sequence + 1 !== last.sequence) {
    throw damaged("the records do not follow each other", where);
  }
  // The last record may be kept before the data of the one before it are.
  const redo = [...new Set([before, last])];
  for (const { pages, firstPage } of redo) data.set(pages, firstPage * PAGE);
  const digests = digestsOf(data);
  if (!Buffer.from(sumOf(digests)).equals(last.digest)) {
    throw damaged("the data are not those that the last record tells of", where);
  }
  const { key, writeCounter, secureWp } = last;
  const snapshot = { registers, key, writeCounter, secureWp, data };
  return { snapshot, redo, last, lastSlot: records.indexOf(last), digests };
}

/** A whole file that holds a part as it is. */
export function encodeState({ registers, data, ...cells }: RpmbSnapshot): Uint8Array {
  const file = new Uint8Array(DATA_START + data.length);
  file.set(encodeHeader(registers));
  const digest = sumOf(digestsOf(data));
  const record = { ...cells, sequence: 1, firstPage: 0, pages: new Uint8Array(0), digest };
  file.set(encodeRecord(record), slotStart(0));
  file.set(data, DATA_START);
  return file;
}

function digestsOf(data: Uint8Array): Uint8Array[] {
  return Array.from({ length: data.length / PAGE }, (_, index) =>
    pageDigest(index, data.subarray(index * PAGE, (index + 1) * PAGE)),
  );
}

function sumOf(digests: readonly Uint8Array[]): Uint8Array {
  const sum = new Uint8Array(STATE_RECORD.digest.size);
  for (const digest of digests) xorInto(sum, digest);
  return sum;
}

/**
 * Keeps a part in a state file. A change is first written to the slot that does not hold the last
 * record, and kept; only then does it go to its place, which is kept by the time the next record is.
 * So one slot holds a whole record whenever the other is torn, and data that may be lost or torn are
 * whole in a slot: in the last record or, while it is being kept, in the one before.
 */
export class StateJournal implements RpmbKeeper {
  readonly #file: StateFile;
  #digests: Uint8Array[];
  #sum: Uint8Array;
  #sequence: number;
  #slot: number;
  /** The record that is being written. */
  readonly #buffer = new Uint8Array(SLOT_SIZE);

  constructor(file: StateFile, { redo, last, lastSlot, digests }: LoadedState) {
    this.#file = file;
    this.#digests = [...digests];
    this.#sum = sumOf(digests);
    this.#sequence = last.sequence;
    this.#slot = lastSlot;
    // The next record takes the place of the older of these.
    for (const { pages, firstPage } of redo) {
      if (pages.length > 0) file.write(DATA_START + firstPage * PAGE, pages);
    }
    file.sync();
  }

  commit(cells: RpmbCells, patch?: RpmbPatch): void {
    const { firstPage, pages } = pagesOf(patch, this.#buffer.subarray(PAGE));
    const digests: Uint8Array[] = [];
    const digest = this.#sum.slice();
    for (let at = 0; at < pages.length; at += PAGE) {
      const index = firstPage + at / PAGE;
      const one = pageDigest(index, pages.subarray(at, at + PAGE));
      xorInto(digest, this.#digests[index] ?? one);
      xorInto(digest, one);
      digests.push(one);
    }
    const slot = (this.#slot + 1) % SLOTS.count;
    const bytes = this.#buffer.subarray(0, PAGE + pages.length);
    const sequence = this.#sequence + 1;
    const record = encodeRecord({ ...cells, sequence, firstPage, pages, digest }, bytes);
    try {
      this.#file.write(slotStart(slot), record);
      this.#file.sync();
      if (pages.length > 0) this.#file.write(DATA_START + firstPage * PAGE, pages);
    } finally {
      record.fill(0, 0, PAGE);
    }
    this.#slot = slot;
    this.#sequence += 1;
    this.#sum = digest;
    for (const [at, one] of digests.entries()) this.#digests[firstPage + at] = one;
  }

  replace(snapshot: RpmbSnapshot): void {
    const file = encodeState(snapshot);
    try {
      this.#file.replace(file);
    } finally {
      file.fill(0, 0, DATA_START);
    }
    this.#digests = digestsOf(snapshot.data);
    this.#sum = sumOf(this.#digests);
    this.#sequence = 1;
    this.#slot = 0;
  }

  close(): void {
    this.#file.close();
  }
}

/** The whole pages that a patch reaches into, as they are after it, put into `room`. */
function pagesOf(
  patch: RpmbPatch | undefined,
  room: Uint8Array,
): { firstPage: number; pages: Uint8Array } {
  if (patch === undefined) return { firstPage: 0, pages: room.subarray(0, 0) };
  const { at, bytes, data } = patch;
  const firstPage = Math.floor(at / PAGE);
  const start = firstPage * PAGE;
  const end = Math.ceil((at + bytes.length) / PAGE) * PAGE;
  const pages = room.subarray(0, end - start);
  pages.set(data.subarray(start, end));
  pages.set(bytes, at - start);
  return { firstPage, pages };
}
