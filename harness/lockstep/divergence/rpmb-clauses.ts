import { RPC_CMD } from "../../optee-abi/index.ts";
import { RPMB_REQUEST } from "../../rpmb/index.ts";
import type { ClauseRow } from "./clause-row.ts";

const RPCS = [RPC_CMD.RPMB, RPC_CMD.RPMB_FRAMES];
const ALONE = ["missing call", "extra call"] as const;
const { PROGRAM_KEY, READ_COUNTER, READ_DATA, WRITE_DATA } = RPMB_REQUEST;
const GET_DEV_INFO = 0;

/** Requests that one side makes and the other does not. */
const requests: readonly ClauseRow[] = [
  { operations: [GET_DEV_INFO], clauses: ["RPMB-5.2.ONCE", "RPMB-5.5.1"] },
  { operations: [PROGRAM_KEY], clauses: ["RPMB-5.2.NOT_PROGRAMMED", "RPMB-5.5.3"] },
  {
    operations: [READ_COUNTER],
    clauses: ["RPMB-5.2.REVERIFY", "RPMB-5.5.5", "RPMB-5.5.4", "RPMB-5.5.2", "RPMB-5.1.1"],
  },
  {
    operations: [WRITE_DATA],
    addresses: [0],
    clauses: ["RPMB-5.5.DUMMY_WRITE", "RPMB-5.5.7", "RPMB-5.5.10", "RPMB-5.4"],
  },
  { operations: [WRITE_DATA], clauses: ["RPMB-5.4", "RPMB-5.6.FAT", "RPMB-5.6.FILE_DATA"] },
  {
    operations: [READ_DATA],
    addresses: [0],
    clauses: ["RPMB-5.5.6", "RPMB-5.5.8", "RPMB-5.5.10"],
  },
  { operations: [READ_DATA], clauses: ["RPMB-4.RD_ENTRIES", "RPMB-5.6.FAT"] },
];

/** What differs within a request or its answer. */
const fields: readonly ClauseRow[] = [
  {
    field: /header\.block_count$/,
    clauses: ["RPMB-2.1.BLOCK_COUNT"],
  },
  { field: /header\.cmd$/, clauses: ["RPMB-2.1.CMD"] },
  { field: /header\.dev_id$/, clauses: ["RPMB-2.1.DEV_ID", "RPMB-4.DEV_ID"] },
  {
    field: /\.frames\[\d+\]\.count$/,
    operations: [WRITE_DATA],
    clauses: ["RPMB-1.FIELDS_WRITE", "RPMB-4.REL_WR_BLKCNT", "RPMB-1.FRAME_COUNT"],
  },
  {
    field: /\.frames\[\d+\]\.count$/,
    operations: [READ_DATA],
    clauses: ["RPMB-1.FIELDS_READ", "RPMB-1.FRAME_COUNT"],
  },
  {
    field: /\.frames\[\d+\]\.counter$/,
    operations: [WRITE_DATA],
    clauses: ["RPMB-5.4", "RPMB-5.3.4", "RPMB-1.FIELDS_WRITE"],
  },
  {
    field: /\.frames\[\d+\]\.address$/,
    clauses: ["RPMB-5.6.FAT", "RPMB-5.6.FILE_DATA", "RPMB-1.FRAME_ADDRESS"],
  },
  { field: /\.frames\[\d+\]\.nonce$/, clauses: ["RPMB-1.4", "RPMB-5.3.5"] },
  { field: /\.frames\[\d+\]\.mac$/, clauses: ["RPMB-1.1", "RPMB-5.3.6"] },
  { field: /\.frames\[\d+\]\.(?:type|result)$/, clauses: ["RPMB-5.3.1", "RPMB-5.3.2"] },
  {
    field: /\.frames\[\d+\]\.block/,
    addresses: [0],
    clauses: ["RPMB-5.6.PARTITION_DATA", "RPMB-5.5.7", "RPMB-5.5.10"],
  },
  {
    field: /\.frames\[\d+\]\.block/,
    clauses: ["RPMB-5.6.FAT", "RPMB-5.6.FILE_DATA", "RPMB-5.6.ENCRYPTION"],
  },
  {
    field: /(?:\.frames|\.size)$/,
    operations: [READ_DATA],
    clauses: ["RPMB-4.RD_ENTRIES", "RPMB-2.1.1"],
  },
  { field: /(?:\.frames|\.size)$/, clauses: ["RPMB-4.REL_WR_BLKCNT", "RPMB-2.1.1"] },
  { field: /\.offs$/, clauses: ["RPMB-2.1.2"] },
];

/** From a difference in what was asked of an RPMB part, or answered, to its clauses. */
export const RPMB_ROWS: readonly ClauseRow[] = [
  ...requests.map((row): ClauseRow => ({ ...row, kinds: ALONE })),
  ...fields,
].map((row): ClauseRow => ({ ...row, rpcs: RPCS }));
