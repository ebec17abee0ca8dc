import { expect, test } from "@jest/globals";
import { OPTEE_SMC, SMC_RETURN } from "../../optee-abi/index.ts";
import type { Difference } from "../../run/index.ts";
import { CLAUSES } from "../clauses/index.ts";
import { clausesOfDifference, type DifferencePlace } from "./clause-of.ts";
import { CLAUSE_ROWS } from "./clause-table.ts";
import type { CanonicalRecord, RecordTopic } from "./model.ts";

const KNOWN = new Map(CLAUSES.map((clause) => [clause.id, clause]));

test("every clause of the table is in the catalogue and within its scope", () => {
  const named = [...new Set(CLAUSE_ROWS.flatMap(({ clauses }) => clauses))];
  expect(named.filter((id) => !KNOWN.has(id))).toEqual([]);
  expect(named.filter((id) => KNOWN.get(id)?.status === "out-of-scope")).toEqual([]);
  expect(named.length).toBeGreaterThan(150);
});

const record = (topic: RecordTopic): CanonicalRecord => ({
  index: 1,
  call: "CALL",
  type: "smc",
  skeleton: "",
  outline: "",
  fields: () => [],
  topic,
});

function clausesOf(
  difference: Partial<Difference>,
  [left, right]: readonly [RecordTopic, RecordTopic],
  place: Partial<DifferencePlace> = {},
  field = "a0",
): readonly string[] {
  const bare: Difference = {
    kind: "register",
    call: "CALL",
    phase: "leave",
    where: "conduit",
    fields: [{ field, left: "", right: "", leftRaw: "", rightRaw: "" }],
    leftRecord: 1,
    rightRecord: 1,
    left: [],
    right: [],
    clauses: [],
    ...difference,
  };
  return clausesOfDifference(bare, {
    record: record(left),
    left: record(left),
    right: record(right),
    conduit: "direct",
    port: false,
    clauses: [],
    ...place,
  });
}

const fid = OPTEE_SMC.CALL_WITH_ARG;

test.each<[string, readonly string[], string]>([
  [
    "a code of the secure world",
    clausesOf({}, [
      { fid, a0: SMC_RETURN.OK },
      { fid, a0: SMC_RETURN.EBADADDR },
    ]),
    "SMC-4.1.5",
  ],
  [
    "a refused resume",
    clausesOf({}, [
      { fid: OPTEE_SMC.RETURN_FROM_RPC, a0: 0 },
      { fid: OPTEE_SMC.RETURN_FROM_RPC, a0: 3 },
    ]),
    "SMC-4.2.RESUME_CHECK",
  ],
  [
    "a fast call",
    clausesOf({}, [{ fid: OPTEE_SMC.CALLS_UID }, { fid: OPTEE_SMC.CALLS_UID }]),
    "SMC-3.CALLS_UID",
  ],
  [
    "a session id",
    clausesOf(
      { kind: "message field" },
      [
        { fid, cmd: 0 },
        { fid, cmd: 0 },
      ],
      {},
      "session",
    ),
    "MSG-2.1.2",
  ],
  [
    "an operation on files",
    clausesOf({ kind: "extra call", call: "RPC FS.READ", fields: [] }, [
      { fid, rpc: 2, operation: 3 },
      {},
    ]),
    "MSG-3.1.READ",
  ],
  [
    "a call that the driver makes",
    clausesOf({ kind: "extra call", phase: "enter", fields: [] }, [
      { fid: OPTEE_SMC.CALL_WITH_REGD_ARG },
      {},
    ]),
    "SMC-9.BUFFERS_DYN_RPC_ARG",
  ],
  [
    "capabilities behind a mediator",
    clausesOf(
      {},
      [
        { fid: OPTEE_SMC.EXCHANGE_CAPABILITIES, a0: 0 },
        { fid: OPTEE_SMC.EXCHANGE_CAPABILITIES, a0: 0 },
      ],
      { conduit: "vm", port: true },
      "a1",
    ),
    "MED-032",
  ],
  [
    "what the mediator sends on",
    clausesOf(
      { where: "port", phase: "enter" },
      [{ fid }, { fid }],
      { conduit: "vm", port: true },
      "a7",
    ),
    "MED-009",
  ],
  [
    "what comes back to the mediator",
    clausesOf(
      { where: "port" },
      [
        { fid, a0: 0 },
        { fid, a0: 1 },
      ],
      { conduit: "vm", port: true },
    ),
    "SMC-4.1.3",
  ],
])("%s is told by its clause", (_what, clauses, first) => {
  expect(clauses[0]).toBe(first);
});

test("what the scenario names comes first, and stands in where the table has nothing", () => {
  const topics = [
    { fid, a0: SMC_RETURN.OK },
    { fid, a0: SMC_RETURN.EBADADDR },
  ] as const;
  const [first, ...rest] = clausesOf({}, topics, { clauses: ["SMC-4.1.8", "MSG-1"] });
  expect(first).toBe("SMC-4.1.8");
  expect(rest).toContain("SMC-4.1.5");
  expect(rest).not.toContain("MSG-1");
  expect(clausesOf({ kind: "result" }, topics, { clauses: ["MSG-1"] })).toEqual(["MSG-1"]);
});
