import { Command, Option } from "commander";
import { EXIT, UsageError } from "../../../../base/index.ts";
import {
  bindingOf,
  type DryRun,
  dryRun,
  issueConfirmation,
  ledgerFile,
  type LedgerReading,
  makePlan,
  perform,
  type Performed,
  type Plan,
  readLedger,
  ROUTES,
  sameForKeys,
  type Situation,
} from "../../../../provision/index.ts";
import { keyCandidates, verifyKey } from "../../../../rpmb/index.ts";
import type { CliContext } from "../../../context.ts";
import { examples } from "../../../help.ts";
import { addOpeningOptions } from "../../../key-opening.ts";
import { parseDuration } from "../../../options.ts";
import { lockstepVersion } from "../../../version.ts";
import { SOURCES } from "../derive-request.ts";
import type { ProvisionFlags } from "./flags.ts";
import { databaseKey, type Deriver, foreignKey, makeDeriver, type PlannedKey } from "./keys.ts";
import { ledgerDocument, ledgerText } from "./ledger-text.ts";
import { type Session, withSession } from "./session.ts";
import { type Subject, subjectOf } from "./subject.ts";
import { planDocument, type PlanReport, planText } from "./text.ts";

const TRIGGER = "xtest regression_6001";

/** `lockstep rpmb provision`. */
export function buildProvision(context: CliContext): Command {
  const command = new Command("provision")
    .description(
      "Plan how a part gets its RPMB key, on one of the four routes of the field: the steps, what can " +
        "go wrong on this part as it is now, and a dry run on an emulated copy. Programming cannot be " +
        "undone: it takes a unit that its board file calls expendable, the CID typed in full, and the " +
        "code under the plan. Parts that Lockstep emulates need no expendable unit.",
    )
    .option("--board <name>", "the board")
    .option("--image <file>", "the state file of an emulated part, in place of a board")
    .addOption(new Option("--route <name>", "how the part gets its key").choices(ROUTES))
    .option("--offline", "plan from the board file alone, without asking the part")
    .addOption(
      new Option(
        "--source <name>",
        "where the key comes from (default: as the board file says)",
      ).choices(SOURCES),
    )
    .option("--huk <hex>", "hardware unique key: digits, @FILE, - for stdin")
    .option("--no-compat", "as builds with CFG_CORE_HUK_SUBKEY_COMPAT=n derive it")
    .option("--database <file>", "encrypted keys by CID, as `rpmb derive --batch` writes them")
    .option(
      "--trigger <command>",
      "what makes OP-TEE use its storage, on route write-key-build",
      TRIGGER,
    );
  addOpeningOptions(command)
    .option("--perform", "do it; needs --cid and --code")
    .option("--cid <hex>", "the part's CID, all 32 digits, typed by you")
    .option("--code <code>", "the confirmation code under the plan")
    .option("--ledger", "show what was programmed where and when, and check the ledger")
    .option("--timeout <time>", "longest time for what is done on the board", parseDuration)
    .option("--json", "print JSON")
    .action(async (flags: ProvisionFlags) => {
      if (flags.ledger === true) showLedger(context, flags);
      else await provision(context, flags);
    });
  return examples(command, [
    ["lockstep rpmb provision --board shelf-3 --route offline --huk @huk", "plan it"],
    [
      "lockstep rpmb provision --board shelf-3 --route database --database lot7.csv --identity id",
      "of that lot",
    ],
    [
      "lockstep rpmb provision --image part.rpmb --route offline --source zero-stub",
      "an emulated part",
    ],
    ["lockstep rpmb provision --ledger", "what was programmed"],
  ]);
}

function showLedger(context: CliContext, flags: ProvisionFlags): void {
  const file = ledgerFile(context.env, context.cwd);
  const reading = readLedger(file);
  const isSound = reading.problems.length === 0;
  context.setExit(isSound ? EXIT.ok : EXIT.failed);
  context.out(
    flags.json === true
      ? `${JSON.stringify(ledgerDocument(file, reading), undefined, 2)}\n`
      : ledgerText(file, reading, context.style.out),
  );
}

async function provision(context: CliContext, flags: ProvisionFlags): Promise<void> {
  refuseFlags(flags);
  const subject = await subjectOf(context, flags);
  const deriver = await makeDeriver(context, flags, subject);
  if (flags.offline === true) {
    const cid = subject.config?.rpmb?.expectedCid ?? subject.config?.rpmb?.emulated?.cid;
    const key = cid === undefined ? undefined : await keyFor(context, flags, deriver, cid);
    await report(
      context,
      flags,
      { plan: makePlan(situationOf(flags, subject, { key })) },
      cid,
      key,
    );
    return;
  }
  await withSession(context, flags, subject, async (session) => {
    const { plan, key, keys } = await ask(context, flags, subject, session, deriver);
    if (flags.perform !== true) {
      await report(context, flags, { plan }, plan.part?.cid, key);
      return;
    }
    const performed = await perform({
      plan,
      part: session.live,
      ...(key !== undefined && { key: key.key }),
      known: keys,
      typedCid: flags.cid ?? "",
      code: flags.code ?? "",
      env: context.env,
      ledger: ledgerFile(context.env, context.cwd),
      version: lockstepVersion(),
      act: async () => await session.act(key?.key),
    });
    await report(context, flags, { plan, performed }, undefined, key);
  });
}

function refuseFlags(flags: ProvisionFlags): void {
  if (flags.route === undefined) {
    throw new UsageError("the route is missing", { expected: `--route ${ROUTES.join(", ")}` });
  }
  if (flags.perform !== true) {
    if (flags.code === undefined && flags.cid === undefined) return;
    throw new UsageError("--cid and --code are for --perform", {
      next: "Without it the plan is printed, with the code that performs it.",
    });
  }
  if (flags.offline === true) throw new UsageError("--offline and --perform exclude each other");
  if (flags.cid === undefined || flags.code === undefined) {
    throw new UsageError("what cannot be undone needs the part's CID and the code under the plan", {
      expected: "--cid with 32 digits, and --code",
      next: "Run the same command without --perform first.",
    });
  }
}

/** Asks the part what it is, and plans. */
async function ask(
  context: CliContext,
  flags: ProvisionFlags,
  subject: Subject,
  session: Session,
  deriver: Deriver | undefined,
) {
  const cid = await session.live.cid();
  const derived = deriver?.(cid);
  let key = await keyFor(context, flags, deriver, cid);
  if (flags.route === "key-service" && session.tools.keyClient !== false && session.readKey) {
    const read = await session.readKey(cid);
    key = foreignKey(
      read,
      "key-service",
      "read out of this board's OP-TEE by the key-read service",
    );
  }
  const keys = [
    ...(key === undefined ? [] : [{ name: key.view.source, key: key.key, how: key.view.how }]),
    ...keyCandidates({ cid: Buffer.from(cid, "hex") }),
  ];
  const { verdict, reason, matches } = await verifyKey(session.live.channel, keys);
  const { sizeMultiplier, where, emulated, tools } = session;
  const expectedCid = subject.config?.rpmb?.expectedCid;
  const part = {
    where,
    emulated,
    cid,
    ...(expectedCid !== undefined && { expectedCid }),
    ...(sizeMultiplier !== undefined && { sizeMultiplier }),
    verdict,
    reason,
    keys: matches.map(({ name }) => name),
  };
  const history = historyOf(readLedger(ledgerFile(context.env, context.cwd)), cid);
  const more = { part, tools, history, key, derived };
  return { plan: makePlan(situationOf(flags, subject, more)), key, keys };
}

/** The key of the route, where it is not read out of the board. */
async function keyFor(
  context: CliContext,
  flags: ProvisionFlags,
  deriver: Deriver | undefined,
  cid: string,
): Promise<PlannedKey | undefined> {
  if (flags.route === "database") return await databaseKey(context, flags, cid);
  return flags.route === "key-service" ? undefined : deriver?.(cid);
}

/** What the ledger knows of the part, whatever firmware it had then: that changes PRV and CRC. */
function historyOf(reading: LedgerReading, cid: string): Situation["history"] {
  const { entries, open, problems } = reading;
  const [problem] = problems;
  return {
    ...(problem !== undefined && { problem }),
    programmed: entries.filter(
      (entry) =>
        (entry.kind === "done" || (entry.kind === "settled" && entry.part === "programmed")) &&
        sameForKeys(entry.cid, cid),
    ),
    open: open.filter((entry) => sameForKeys(entry.cid, cid)),
  };
}

interface Asked {
  readonly part?: Situation["part"];
  readonly tools?: Situation["tools"];
  readonly history?: Situation["history"];
  readonly key?: PlannedKey | undefined;
  readonly derived?: PlannedKey | undefined;
}

function situationOf(flags: ProvisionFlags, subject: Subject, asked: Asked): Situation {
  const { part, key, derived, tools = {}, history = { programmed: [], open: [] } } = asked;
  const source = flags.database ?? flags.keyFile;
  return {
    route: flags.route ?? "offline",
    board: subject.view,
    ...(part !== undefined && { part }),
    ...(key !== undefined && { key: key.view }),
    ...(derived !== undefined && derived !== key && { derived: derived.view }),
    ...(source !== undefined && { database: source }),
    trigger: flags.trigger,
    tools,
    history,
  };
}

/** Prints the plan; where it may be performed, with the code that does it. */
async function report(
  context: CliContext,
  flags: ProvisionFlags,
  what: { readonly plan: Plan; readonly performed?: Performed },
  cid: string | undefined,
  key: PlannedKey | undefined,
): Promise<void> {
  const { plan, performed } = what;
  let dry: DryRun | undefined;
  if (cid !== undefined && key !== undefined) {
    dry = await dryRun(cid, key.key, plan.part?.sizeMultiplier);
  }
  const mayPerform = performed === undefined && plan.obstacles.length === 0;
  const all: PlanReport = {
    ...what,
    ...(dry !== undefined && { dryRun: dry }),
    ...(mayPerform && { confirmation: issueConfirmation(context.env, bindingOf(plan)) }),
    again: commandLine(flags, plan),
    ledger: ledgerFile(context.env, context.cwd),
  };
  context.setExit(plan.obstacles.length === 0 ? EXIT.ok : EXIT.failed);
  context.out(
    flags.json === true
      ? `${JSON.stringify(planDocument(all), undefined, 2)}\n`
      : planText(all, context.style.out),
  );
}

/** What was typed, but for a hardware unique key that stood on the command line itself. */
function commandLine(flags: ProvisionFlags, plan: Plan): string {
  const words: (string | undefined)[] = [
    "lockstep rpmb provision",
    flags.image === undefined ? `--board ${plan.board.name}` : `--image ${flags.image}`,
    `--route ${plan.route}`,
    flags.source && `--source ${flags.source}`,
    flags.huk && `--huk ${/^(?:-|@.*)$/s.test(flags.huk) ? flags.huk : "…"}`,
    flags.compat ? undefined : "--no-compat",
    flags.database && `--database ${flags.database}`,
    flags.keyFile && `--key-file ${flags.keyFile}`,
    flags.identity && `--identity ${flags.identity}`,
    flags.passphrase === true ? "--passphrase" : undefined,
    flags.passphraseFd && `--passphrase-fd ${flags.passphraseFd}`,
    flags.trigger === TRIGGER ? undefined : `--trigger '${flags.trigger}'`,
  ];
  return words.filter((word) => word !== undefined && word !== "").join(" ");
}
