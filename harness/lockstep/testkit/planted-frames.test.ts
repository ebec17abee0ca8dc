import { beforeAll, expect, test } from "@jest/globals";
import { loadBoard } from "../../board/index.ts";
import { EmulatedTarget, loadScenario } from "../../platform/index.ts";
import { RPMB_REQUEST } from "../../rpmb/index.ts";
import type { Difference, Trace, TraceFrame, TraceRecord } from "../../run/index.ts";
import { CLAUSES } from "../clauses/index.ts";
import { compareTraces } from "../divergence/index.ts";

const SCENARIO = "rpmb/first-use#blankPart";
const DIRECT = { conduit: "direct" } as const;

async function recorded(seed: number): Promise<Trace> {
  const target = new EmulatedTarget(await loadBoard("emulated", { env: {} }), { seed });
  const { clauses } = await loadScenario(SCENARIO);
  let trace: Trace | undefined;
  await target.run(SCENARIO, null, DIRECT, (records) => {
    trace = {
      header: {
        type: "trace",
        format: 1,
        target: "emulated",
        caseId: "planted",
        run: 0,
        reference: SCENARIO,
        conduit: "direct",
        seed,
        clauses,
      },
      records,
    };
  });
  if (trace === undefined) throw new Error("no trace was recorded");
  return trace;
}

let sound: Trace;

beforeAll(async () => {
  sound = await recorded(1);
});

/** The frames of a request that a record asks for. */
const asked = (record: TraceRecord): readonly TraceFrame[] | undefined =>
  record.type === "smc" && record.phase === "leave" && record.message?.role === "rpc"
    ? record.message.params[0]?.data?.frames
    : undefined;

/** Where the first request of a type begins: it and its answer are two records. */
function placeOf(type: number, address?: number): number {
  const at = sound.records.findIndex((record) => {
    const [frame] = asked(record) ?? [];
    return frame?.type === type && (address === undefined || frame.address === address);
  });
  if (at < 0) throw new Error("there is no such request");
  return at;
}

/** What is found when the model had done this. */
function causeOf(change: (records: TraceRecord[]) => void): Difference | undefined {
  const records = structuredClone(sound.records) as TraceRecord[];
  change(records);
  return compareTraces({ ...sound, records }, sound).cause;
}

/** The first frame of the request at `at`, other than it was. */
function altered(records: TraceRecord[], at: number, frame: Partial<TraceFrame>): void {
  const record = records[at];
  const [first] = record === undefined ? [] : (asked(record) ?? []);
  if (first === undefined) throw new Error("there is no frame");
  Object.assign(first, frame);
}

const { READ_COUNTER, READ_DATA, WRITE_DATA } = RPMB_REQUEST;

const framesOf = ({ records }: Trace): string =>
  JSON.stringify(records.flatMap((one) => asked(one) ?? []));

test("two runs whose nonces and file keys are others are equal, frame by frame", async () => {
  const other = await recorded(7);
  expect(framesOf(other)).not.toBe(framesOf(sound));
  expect(compareTraces(other, sound)).toMatchObject({ explained: [], echoes: 0 });
  expect(compareTraces(other, sound).cause).toBeUndefined();
});

test("no trace shows a key that is programmed, nor data but by their digest", () => {
  const at = placeOf(RPMB_REQUEST.PROGRAM_KEY);
  expect(asked(sound.records[at] ?? { type: "console", text: "" })).toEqual([
    { type: 1, result: 0, address: 0, count: 0, counter: 0, nonce: "", mac: "" },
  ]);
  expect(JSON.stringify(sound.records)).not.toContain("7143becb");
});

type Planted = readonly [
  name: string,
  clause: string,
  seen: { readonly kind: string; readonly call: string; readonly field?: string },
  change: (records: TraceRecord[]) => void,
];

const PLANTED: readonly Planted[] = [
  [
    "the dummy write is left out",
    "RPMB-5.5.7",
    { kind: "extra call", call: "RPC RPMB.WRITE_DATA" },
    (records) => records.splice(placeOf(WRITE_DATA, 0), 2),
  ],
  [
    "the counter is read once more",
    "RPMB-5.2.REVERIFY",
    { kind: "missing call", call: "RPC RPMB.READ_COUNTER" },
    (records) => {
      const at = placeOf(READ_COUNTER);
      records.splice(at, 0, ...records.slice(at, at + 2));
    },
  ],
  [
    "a write has another block count",
    "RPMB-1.FIELDS_WRITE",
    { kind: "data", call: "RPC RPMB.WRITE_DATA", field: "params[0].frames[0].count" },
    (records) => altered(records, placeOf(WRITE_DATA, 2), { count: 2 }),
  ],
  [
    "a write has another counter",
    "RPMB-5.4",
    { kind: "data", call: "RPC RPMB.WRITE_DATA", field: "params[0].frames[0].counter" },
    (records) => altered(records, placeOf(WRITE_DATA, 2), { counter: 9 }),
  ],
  [
    "a read begins at another block",
    "RPMB-5.6.FAT",
    { kind: "data", call: "RPC RPMB.READ_DATA", field: "params[0].frames[0].address" },
    (records) => altered(records, placeOf(READ_DATA, 2), { address: 3 }),
  ],
  [
    "the partition data are others",
    "RPMB-5.5.7",
    { kind: "data", call: "RPC RPMB.WRITE_DATA", field: "params[0].frames[0].block" },
    (records) =>
      altered(records, placeOf(WRITE_DATA, 0), { block: "partition version 3 FAT at 512" }),
  ],
  [
    "what is read back is not what was written",
    "RPMB-5.6.FAT",
    { kind: "data", call: "RETURN_FROM_RPC RPMB.READ_DATA", field: "params[1].frames[0].block" },
    (records) => {
      const at = records.findIndex((record) => isAnswerWith(record, /^data /));
      const record = records[at];
      if (record?.type !== "smc") throw new Error("nothing encrypted is read");
      Object.assign(record.message?.params[1]?.data?.frames?.[0] ?? {}, {
        block: "data 0123456789abcdef",
      });
    },
  ],
];

function isAnswerWith(record: TraceRecord, block: RegExp): boolean {
  if (record.type !== "smc" || record.phase !== "enter") return false;
  const [frame] = record.message?.params[1]?.data?.frames ?? [];
  return block.test(frame?.block ?? "");
}

test.each(PLANTED.map((planted) => [planted[0], planted] as const))(
  "planted, it is found and has its clause: %s",
  (_, [, clause, seen, change]) => {
    const cause = causeOf(change);
    const field = cause?.fields[0]?.field;
    expect({
      kind: cause?.kind,
      call: cause?.call,
      ...(field === undefined ? {} : { field }),
    }).toEqual(seen);
    expect(cause?.clauses[0]).toBe(clause);
    expect(CLAUSES.map(({ id }) => id)).toEqual(
      expect.arrayContaining([...(cause?.clauses ?? [])]),
    );
  },
);
