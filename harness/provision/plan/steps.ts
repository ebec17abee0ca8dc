import { KEY_CLIENT } from "../key-service.ts";
import type { Situation } from "./situation.ts";

export interface PlanStep {
  readonly title: string;
  /** Exact commands, where there are any; keys never stand in one. */
  readonly commands: readonly string[];
  /** From here on there is no way back. */
  readonly irreversible?: true;
}

const yes = (flag: boolean | undefined): string => (flag === false ? "n" : "y");

/** The steps of a route for this board and part. */
export function stepsOf(situation: Situation): PlanStep[] {
  const { route, part, key } = situation;
  const where = part?.where ?? "the part";
  const cid = part?.cid ?? "CID";
  const id = key === undefined ? "" : ` (key id ${key.id})`;
  const write: PlanStep =
    part?.emulated === true && !part.where.startsWith("/dev/")
      ? {
          title: `Program the key into the emulated part${id}: the request that mmc-utils sends`,
          commands: [],
          irreversible: true,
        }
      : {
          title: `Write the key on the board, from standard input${id}`,
          commands: [`mmc rpmb write-key ${where} -`],
          irreversible: true,
        };
  switch (route) {
    case "write-key-build":
      return [...writeKeyBuild(situation), ...after(situation)];
    case "key-service":
      return [
        { title: "Boot the build with the key-read service", commands: boot(situation) },
        {
          title: "Read the key out; it goes to Lockstep over SSH and nowhere else",
          commands: [`${KEY_CLIENT.program} ${cid}`],
        },
        {
          title:
            "Compare its id with that of the derived key, which is printed when a key file is written",
          commands: [
            `lockstep rpmb derive ${deriveWords(situation)} --cid ${cid} --out-key FILE --recipient RECIPIENT`,
          ],
        },
        write,
        ...after(situation),
        { title: "Replace the build: the service must not stay on the board", commands: [] },
      ];
    case "offline":
      return [
        {
          title:
            "Derive the key from hardware unique key and CID, and compare its id; a key file shows it and not the key",
          commands: [
            `lockstep rpmb derive ${deriveWords(situation)} --cid ${cid} --out-key FILE --recipient RECIPIENT`,
          ],
        },
        write,
        ...after(situation),
      ];
    default:
      return [
        {
          title: `Take the key of CID ${cid} from the database`,
          commands: situation.database === undefined ? [] : [`# ${situation.database}`],
        },
        write,
        ...after(situation),
      ];
  }
}

function writeKeyBuild(situation: Situation): PlanStep[] {
  const { board, part, trigger } = situation;
  const { compat, testKey } = board.build;
  const flags = [
    "CFG_RPMB_FS=y",
    "CFG_RPMB_WRITE_KEY=y",
    `CFG_RPMB_TESTKEY=${testKey === true ? "y" : "n"}`,
    `CFG_CORE_HUK_SUBKEY_COMPAT=${yes(compat)}`,
    "CFG_RPMB_FS_DEBUG_DATA=n",
    "CFG_TEE_CORE_LOG_LEVEL=2",
  ];
  return [
    { title: "Build OP-TEE to program the key", commands: [`make ${flags.join(" ")}`] },
    { title: "Boot it", commands: boot(situation) },
    part?.emulated === true && board.platform === "emulated"
      ? {
          title: "Let the model of that build use its storage for the first time",
          commands: [],
          irreversible: true,
        }
      : {
          title:
            "Make OP-TEE use its storage for the first time: it finds the part blank and programs it",
          commands: [`lockstep exec ${board.name} -- ${trigger}`],
          irreversible: true,
        },
  ];
}

const boot = ({ board }: Situation): string[] =>
  board.platform === "emulated" ? [] : [`lockstep boot ${board.name} --to tee-ready`];

/** Options of `rpmb derive` for this key; what is secret stands as a name. */
function deriveWords(situation: Situation): string {
  const key = situation.derived ?? situation.key;
  const source = key?.source ?? "given";
  if (source === "test-key" || source === "zero-stub") {
    return `--source ${source}${key?.compat === false ? " --no-compat" : ""}`;
  }
  const named = source === "caam-open" || source === "caam-closed" ? `--source ${source} ` : "";
  return `${named}--huk @HUK-FILE${key?.compat === false ? " --no-compat" : ""}`;
}

function after({ route, board, part }: Situation): PlanStep[] {
  const subject = board.file === "" ? `--image ${part?.where ?? "FILE"}` : `--board ${board.name}`;
  const verify: PlanStep = {
    title: "Verify with an authenticated read under a fresh nonce, which writes nothing",
    commands: [`lockstep rpmb verify ${subject}`],
  };
  return route === "write-key-build"
    ? [verify, { title: "Replace the build by one with CFG_RPMB_WRITE_KEY=n", commands: [] }]
    : [verify];
}
