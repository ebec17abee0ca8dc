import type { HazardRule } from "./hazard.ts";
import { isCaam, isImx, usesCaam, writesByTool } from "./situation.ts";

/** PRV and CRC in the digits of a CID. */
const isMasked = (index: number): boolean =>
  (index >= 18 && index < 20) || (index >= 30 && index < 32);

/** Whether two CIDs give the same key: all digits but those of PRV and CRC are the same. */
export function sameForKeys(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index += 1) {
    if (a[index] !== b[index] && !isMasked(index)) return false;
  }
  return true;
}

/** What is true of the part, the unit and the key, whatever the route. */
export const PART_HAZARDS: readonly HazardRule[] = [
  {
    id: "key-programmed",
    sources: ["RPMB-1.3"],
    find: ({ part }) => {
      if (part === undefined || !["proven", "none of these", "replayable"].includes(part.verdict)) {
        return undefined;
      }
      const whose = part.keys.length === 0 ? "none that is known here" : part.keys.join(" = ");
      return {
        severity: "stop",
        what: `the part has a key already (${whose}); a key is programmed once and never again`,
        mend: "Find the build and the hardware unique key that the key belongs to with `lockstep rpmb verify --huk …`; if there is none, the part can hold no RPMB storage any more: replace it.",
      };
    },
  },
  {
    id: "part-unproven",
    sources: ["RPMB-1.4"],
    find: ({ part }) =>
      part?.verdict === "unproven"
        ? {
            severity: "stop",
            what: `what the part is cannot be told: ${part.reason}`,
            mend: "Ask it again with `lockstep rpmb verify`; a part that does not answer a counter read takes no key either.",
          }
        : undefined,
  },
  {
    id: "part-not-asked",
    sources: ["RPMB-1.4"],
    find: ({ part }) =>
      part === undefined
        ? {
            severity: "stop",
            what: "the part was not asked: what it is and whether it has a key is not known",
            mend: "Run the plan without --offline.",
          }
        : undefined,
  },
  {
    id: "part-replaced",
    sources: ["RPMB-2.3.PSN", "RPMB-3.1"],
    find: ({ part }) =>
      part?.expectedCid !== undefined && !sameForKeys(part.expectedCid, part.cid)
        ? {
            severity: "stop",
            what: `the board file expects the part ${part.expectedCid}, and ${part.cid} is there: another board, or its part was replaced`,
            mend: "Check the board; correct `rpmb.cid` in its file if this is its part now.",
          }
        : undefined,
  },
  {
    id: "revision-changed",
    sources: ["RPMB-2.3.PRV", "RPMB-2.3.CRC"],
    find: ({ part }) => {
      const changed =
        part?.expectedCid !== undefined &&
        part.expectedCid !== part.cid &&
        sameForKeys(part.expectedCid, part.cid);
      return {
        severity: "note",
        what: changed
          ? "product revision or CRC of the CID differ from the board file's, as after a firmware update of the part: the key is the same"
          : "a firmware update of the part changes product revision and CRC in its CID; the key does not depend on them",
        mend: changed ? "Nothing; write the new CID to `rpmb.cid` if you like." : "Nothing.",
      };
    },
  },
  {
    id: "open-part",
    sources: ["RPMB-3.1.IMX_OPEN", "RPMB-3.1.IMX_CLOSED"],
    find: (situation) => {
      if (!isImx(situation) || situation.board.lifeCycle !== "open") return undefined;
      if (!usesCaam(situation) && situation.board.build.huk !== undefined) return undefined;
      const known = usesCaam(situation);
      return {
        severity: "danger",
        what: `the part is on an open i.MX8M: its hardware unique key is that of every open one, and closing the SoC changes it${known ? "" : " where OP-TEE takes it from the CAAM"}. A key that is written now is lost then, with all that is stored, for good`,
        mend: "Close the SoC first, then program; or keep this unit open for ever.",
      };
    },
  },
  {
    id: "life-cycle-unknown",
    sources: ["RPMB-3.1.IMX_OPEN", "RPMB-3.1.IMX_CLOSED"],
    find: (situation) =>
      isImx(situation) && situation.board.lifeCycle === "unknown"
        ? {
            severity: "caution",
            what: "whether this i.MX8M is open or closed is not known, and its hardware unique key depends on it",
            mend: "Ask its boot loader (`hab_status` in U-Boot) and write `life_cycle: open` or `closed` to the board file.",
          }
        : undefined,
  },
  {
    id: "life-cycle-mismatch",
    sources: ["RPMB-3.1.IMX_OPEN", "RPMB-3.1.IMX_CLOSED"],
    find: ({ board, key }) => {
      const assumed = key?.source === "caam-open" ? "open" : "closed";
      if (!isCaam(key?.source) || board.lifeCycle === "unknown") return undefined;
      if (board.lifeCycle === assumed) return undefined;
      return {
        severity: "stop",
        what: `the key was derived for an ${assumed === "open" ? "open" : "already closed"} part, and the board file says that this one is ${board.lifeCycle}`,
        mend: `Derive it from the hardware unique key of this ${board.lifeCycle} part, or correct \`life_cycle\`.`,
      };
    },
  },
  {
    id: "published-key",
    sources: ["RPMB-3.1.ZERO_STUB", "RPMB-3.1.IMX_NO_CAAM", "RPMB-4.TESTKEY"],
    find: ({ key }) =>
      key?.published === true
        ? {
            severity: "danger",
            what: `this key protects nothing: ${key.source === "test-key" ? "it is printed in OP-TEE's source" : "its hardware unique key is all zero, so that whoever reads the CID knows it"}`,
            mend: "For development only. Build OP-TEE with the SoC's own hardware unique key (on i.MX8M CFG_NXP_CAAM=y) before a part that matters is programmed.",
          }
        : undefined,
  },
  {
    id: "huk-32",
    sources: ["RPMB-3.4", "RPMB-3.3.SCRIPT"],
    find: ({ key }) =>
      key?.hukSize === 32
        ? {
            severity: "caution",
            what: "the hardware unique key has 32 bytes: OP-TEE must be built with CFG_HW_UNIQUE_KEY_LENGTH=32, or it takes the first 16 and derives another key; OP-TEE's own script takes 16 only",
            mend: "Check CFG_HW_UNIQUE_KEY_LENGTH of the build, and compare with `lockstep rpmb derive --explain`.",
          }
        : undefined,
  },
  {
    id: "compat-mismatch",
    sources: ["RPMB-3.2", "RPMB-4.SUBKEY_COMPAT"],
    find: ({ board, key }) => {
      const built = board.build.compat;
      if (key?.compat === undefined || built === undefined || key.compat === built)
        return undefined;
      return {
        severity: "stop",
        what: `the key was derived ${key.compat ? "with" : "without"} CFG_CORE_HUK_SUBKEY_COMPAT, and the board's OP-TEE is built ${built ? "with" : "without"} it: OP-TEE would never accept the part`,
        mend: built ? "Leave --no-compat out." : "Add --no-compat.",
      };
    },
  },
  {
    id: "compat-unknown",
    sources: ["RPMB-3.2", "RPMB-3.3.SCRIPT", "RPMB-3.6"],
    find: ({ board, key }) =>
      key?.compat !== undefined && board.build.compat === undefined
        ? {
            severity: "caution",
            what: `the key is derived ${key.compat ? "with" : "without"} CFG_CORE_HUK_SUBKEY_COMPAT; how the board's OP-TEE is built is not known. Builds have it unless they say otherwise, as did all before 3.6.0; OP-TEE's own script leaves it out unless asked`,
            mend: "Look it up in the build's conf.mk and write `rpmb: { optee: { compat: … } }` to the board file.",
          }
        : undefined,
  },
  {
    id: "other-key",
    sources: ["RPMB-3.1", "RPMB-5.3.6"],
    find: ({ key, derived }) =>
      key !== undefined && derived !== undefined && key.id !== derived.id
        ? {
            severity: "stop",
            what: `the key to be written (${key.id}) is not the one that this board's OP-TEE derives (${derived.id}: ${derived.how})`,
            mend: "Find out which of the two is wrong before anything is written: OP-TEE cannot be told a key.",
          }
        : undefined,
  },
  {
    id: "test-key-build",
    sources: ["RPMB-4.TESTKEY"],
    find: ({ board, key }) => {
      if (board.build.testKey !== true) return undefined;
      const same = key?.source === "test-key";
      return {
        severity: same ? "danger" : "stop",
        what: same
          ? "the board's OP-TEE is a test-key build: the part gets the published key, for good"
          : "the board's OP-TEE is a test-key build (CFG_RPMB_TESTKEY): it uses the published key and no other",
        mend: "Use a build without CFG_RPMB_TESTKEY, and say so in the board file.",
      };
    },
  },
  {
    id: "ledger-changed",
    sources: ["RPMB-1.3"],
    find: ({ history: { problem } }) =>
      problem === undefined
        ? undefined
        : {
            severity: "stop",
            what: `the ledger was changed by something else than Lockstep: ${problem}`,
            mend: "Look at `lockstep rpmb provision --ledger`, and compare it with a copy.",
          },
  },
  {
    id: "seen-before",
    sources: ["RPMB-1.3", "RPMB-9.PERSISTENCE"],
    find: ({ history, part }) =>
      history.programmed.length > 0 && part?.verdict === "none programmed"
        ? {
            severity: "caution",
            what: "the ledger says that this part was programmed before, and it says that it is blank: a part cannot lose its key. An emulated part was made anew, a part shows another's CID, or something stands between",
            mend: "Look at `lockstep rpmb provision --ledger`, and find out which part answers.",
          }
        : undefined,
  },
  {
    id: "open-intent",
    sources: ["RPMB-9.PERSISTENCE"],
    find: ({ history }) => {
      const [first] = history.open;
      return first === undefined
        ? undefined
        : {
            severity: "caution",
            what: `an attempt of ${first.time} to program this part with key ${first.keyId || "(not known)"} has no end in the ledger: Lockstep or its machine stopped in the middle`,
            mend: "Read on what the part is now: that decides. The next attempt to perform closes the entry.",
          };
    },
  },
];

/** The last line of every plan. */
export const COUNTER_LINE: HazardRule = {
  id: "once",
  sources: ["RPMB-1.3", "RPMB-9.KEY_UNREADABLE"],
  find: (situation) => ({
    severity: "note",
    what: "a key is programmed once, cannot be read back and cannot be changed; a wrong one makes the part useless to OP-TEE",
    mend: writesByTool(situation)
      ? "Compare the key id above with one that was derived on another machine."
      : "Program one expendable unit first, and verify it.",
  }),
};
