import type { Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { FRAME, FRAME_SIZE, numberOf, RPMB_RESULT, setNumber } from "../../harness/rpmb/index.ts";
import { STORAGE_ID } from "../support/storage-client.ts";
import { idOf, restoreFiles, RpmbRun, storageFiles } from "../support/rpmb.ts";

const ANYWHERE = { conduits: ["direct", "vm"], rules: "strict" } as const;
const DIRECT = { conduits: ["direct"] } as const;
const PROVISIONED = { route: "supplicant", parts: [{ key: "optee" }] } as const;
const { REE, RPMB } = STORAGE_ID;
/** Where the FAT begins, in blocks. */
const FAT_BLOCK = 2;

/** An object of each kind, each with this text. */
function store(run: RpmbRun, when: string, text: string): void {
  run.create(`${when}: in files`, "object", idOf(text), REE);
  run.create(`${when}: in RPMB`, "object", idOf(text), RPMB);
}

/** What is left of them. */
function look(run: RpmbRun, when: string): void {
  run.read(`${when}: in files`, "object", REE);
  run.read(`${when}: in RPMB`, "object", RPMB);
}

const filesOf = (context: ScenarioContext): ReturnType<typeof storageFiles> =>
  storageFiles(context.guest().linux.disk);

/** A new blank part in place of one that has objects; the files are those of the old one. */
export const partReplaced: Scenario = {
  ...ANYWHERE,
  clauses: ["RPMB-5.2.NOT_PROGRAMMED", "RPMB-4.REE_FS_INTEGRITY"],
  rpmb: PROVISIONED,
  run: async (context) => {
    const run = new RpmbRun(context);
    run.load("load");
    store(run, "before", "old");
    context.rpmb.part.replace({});
    await run.restart();
    run.load("with the new part");
    look(run, "after");
    store(run, "anew", "new");
    look(run, "then");
    return run.end();
  },
};

/** Every block is zero again, key and counter stay: a part that was erased by who has the key. */
export const partErased: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.6.PARTITION_DATA", "RPMB-4.REE_FS_INTEGRITY"],
  rpmb: PROVISIONED,
  run: async (context) => {
    const run = new RpmbRun(context);
    run.load("load");
    store(run, "before", "old");
    context.rpmb.part.erase();
    await run.restart();
    run.load("erased");
    look(run, "after");
    return run.end();
  },
};

const rolledBack = (keepCounter: boolean): Scenario => ({
  ...DIRECT,
  clauses: ["RPMB-4.REE_FS_INTEGRITY", "RPMB-1.2"],
  rpmb: PROVISIONED,
  run: async (context) => {
    const run = new RpmbRun(context);
    const { part } = context.rpmb;
    run.load("load");
    store(run, "before", "old");
    const image = part.image();
    store(run, "later", "new");
    part.rollBack(image, { keepCounter });
    await run.restart();
    run.load("rolled back");
    look(run, "after");
    return run.end();
  },
});

/** The part as it was before, counter and all, as no real part lets itself be set; files are newer. */
export const partRolledBack: Scenario = rolledBack(false);
/** Its data as they were, the counter as it is: what somebody with the key can write. */
export const dataRolledBack: Scenario = rolledBack(true);

/** The files as they were before; the part is newer. */
export const filesRolledBack: Scenario = {
  ...ANYWHERE,
  clauses: ["RPMB-4.REE_FS_INTEGRITY"],
  rpmb: PROVISIONED,
  run: async (context) => {
    const run = new RpmbRun(context);
    run.load("load");
    store(run, "before", "old");
    const files = filesOf(context);
    store(run, "later", "new");
    restoreFiles(context.guest().linux.disk, files);
    await run.restart();
    run.load("files rolled back");
    look(run, "after");
    return run.end();
  },
};

/** Files and part as they were before, together. */
export const bothRolledBack: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-4.REE_FS_INTEGRITY"],
  rpmb: PROVISIONED,
  run: async (context) => {
    const run = new RpmbRun(context);
    const { part } = context.rpmb;
    run.load("load");
    store(run, "before", "old");
    const [files, image] = [filesOf(context), part.image()];
    store(run, "later", "new");
    restoreFiles(context.guest().linux.disk, files);
    part.rollBack(image);
    await run.restart();
    run.load("both rolled back");
    look(run, "after");
    return run.end();
  },
};

/** The files are lost; the part remembers that there were some. */
export const filesLost: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-4.REE_FS_INTEGRITY"],
  rpmb: PROVISIONED,
  run: async (context) => {
    const run = new RpmbRun(context);
    run.load("load");
    store(run, "before", "old");
    restoreFiles(context.guest().linux.disk, new Map());
    await run.restart();
    run.load("files lost");
    look(run, "after");
    return run.end();
  },
};

/** A build that resets the FAT: files are forgotten at the first use of each boot. */
export const fatReset: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-4.RESET_FAT", "RPMB-4.REE_FS_INTEGRITY"],
  rpmb: PROVISIONED,
  run: async (context) => {
    const run = new RpmbRun(context);
    run.load("load");
    store(run, "before", "old");
    await run.restart({ build: { resetFat: true } });
    run.load("reset build");
    look(run, "after");
    run.create("in its first boot", "object", idOf("new"), RPMB);
    await run.restart({ build: { resetFat: true } });
    run.load("reset build again");
    look(run, "then");
    return run.end();
  },
};

const LAST_COUNTER = 0xffff_ffff;

/** The last values of the write counter, and then none. */
export const counterNearItsEnd: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-1.RESULT_EXPIRED", "RPMB-9.SATURATION", "RPMB-5.3.1", "RPMB-5.4"],
  rpmb: { route: "supplicant", parts: [{ key: "optee" }] },
  run: async (context) => {
    const run = new RpmbRun(context);
    const { part } = context.rpmb;
    run.load("load");
    run.create("create", "object", idOf("old"));
    part.rollBack({ ...part.image(), writeCounter: LAST_COUNTER - 4 });
    await run.restart();
    run.load("few values left");
    run.create("until there is none", "object", idOf("new"));
    await run.restart();
    run.load("at its end");
    run.read("read", "object");
    return run.end();
  },
};

/** A part whose counter has ended: reads go well, the first write kills storage until the next boot. */
export const counterAtItsEnd: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-1.RESULT_EXPIRED", "RPMB-9.SATURATION", "RPMB-5.3.1"],
  rpmb: { route: "supplicant", parts: [{ key: "optee", writeCounter: LAST_COUNTER }] },
  run: (context) => {
    const run = new RpmbRun(context);
    run.load("first try");
    run.load("second try");
    return run.end();
  },
};

/** From the card that tee-supplicant emulates to the real part: a blank one with other contents. */
export const emulationToRealPart: Scenario = {
  ...ANYWHERE,
  clauses: ["RPMB-6.2.STATE", "RPMB-5.2.NOT_PROGRAMMED"],
  rpmb: { route: "emulation" },
  run: async (context) => {
    const run = new RpmbRun(context);
    run.load("with the emulated card");
    store(run, "before", "old");
    await run.restart({ route: "supplicant" });
    run.load("with the real part");
    look(run, "after");
    return run.end();
  },
};

/** The emulated card ends with its supplicant: the next one's is blank, and the key is no longer asked for. */
export const supplicantRestarted: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-6.2.STATE", "RPMB-6.2.COUNTER_BEFORE_KEY", "RPMB-6.2.READ_BEFORE_KEY"],
  rpmb: { route: "emulation" },
  run: async (context) => {
    const run = new RpmbRun(context);
    const { linux } = context.guest();
    run.load("with the first card");
    store(run, "before", "old");
    const first = linux.supplicant?.process;
    if (first === undefined) return null;
    context.execute(first.exit());
    context.execute(linux.startSupplicant());
    run.load("with the second card");
    run.load("once more");
    await run.restart();
    run.load("after a restart");
    look(run, "then");
    return { steps: run.steps };
  },
};

/**
 * Every other answer from the FAT says that there is no key: the one that looks for the hash of the
 * files' directory does, the one that would make it anew does not.
 */
function noKeyEveryOther(): (answer: Uint8Array, request: Uint8Array) => Uint8Array {
  let forge = false;
  return (answer, request) => {
    const isFat = answer.length > FRAME_SIZE && numberOf(request, FRAME.address) === FAT_BLOCK;
    if (isFat) forge = !forge;
    if (!isFat || !forge) return answer;
    const forged = answer.slice();
    setNumber(forged, FRAME.result, RPMB_RESULT.KEY_NOT_PROGRAMMED, forged.length / FRAME_SIZE - 1);
    return forged;
  };
}

/** Files rolled back, and answers of the part forged, which takes no key: their result comes before their MAC. */
export const forgedNoKey: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-4.REE_FS_INTEGRITY", "RPMB-5.3.1"],
  rpmb: PROVISIONED,
  run: async (context) => {
    const run = new RpmbRun(context);
    run.load("load");
    run.create("before", "object", idOf("old"), REE);
    const files = filesOf(context);
    run.create("later", "object", idOf("new"), REE);
    restoreFiles(context.guest().linux.disk, files);
    await run.restart();
    context.rpmb.part.tamper({ response: noKeyEveryOther() });
    run.load("with forged answers");
    run.read("after", "object", REE);
    return run.end();
  },
};

const HUK = "000102030405060708090a0b0c0d0e0f";

/** An i.MX8M whose key was programmed while it was open is closed: its hardware unique key is another. */
export const partClosed: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-3.1.IMX_CLOSED", "RPMB-3.1.IMX_OPEN", "RPMB-5.2.OTHER"],
  rpmb: { route: "supplicant" },
  run: async (context) => {
    const run = new RpmbRun(context);
    run.load("open");
    store(run, "before", "old");
    await run.restart({ build: { huk: HUK } });
    run.load("closed");
    look(run, "after");
    context.rpmb.part.replace({});
    await run.restart();
    run.load("with a new part");
    look(run, "then");
    return run.end();
  },
};
