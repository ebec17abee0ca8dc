import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import path from "node:path";
import { errorCode, EXIT, runtimeDir } from "../../base/index.ts";
import {
  type BoardConfig,
  boardFileError,
  type BoardFileProblem,
  checkBoardFile,
  listBoards,
  missingFiles,
  type SecretRef,
} from "../../board/index.ts";
import { findPrepared } from "../../images/index.ts";
import { boardLockHolder } from "../../run/index.ts";
import type { CliContext } from "../context.ts";
import { divergenceProblems, once } from "../known-divergences.ts";
import { bad, type Check, lacking, ok, warn } from "./check.ts";
import { checkPrepareTools } from "./host.ts";

/** Do all board files on the search path load? */
export async function checkBoardFiles(context: CliContext): Promise<Check[]> {
  const boards = await listBoards(context);
  const broken: Check[] = [];
  const wrong: BoardFileProblem[] = [];
  const expired: BoardFileProblem[] = [];
  for (const { name, file } of boards) {
    const [problem] = await checkBoardFile(file, context);
    if (problem === undefined) {
      const known = await divergenceProblems(file, context);
      wrong.push(...known.problems);
      expired.push(...known.expired);
      continue;
    }
    const { where, message } = boardFileError(problem);
    broken.push(
      bad(
        `board ${name}`,
        `${where ?? file}: ${message}`,
        `lockstep boards check ${file}`,
        EXIT.usage,
      ),
    );
  }
  const divergences = divergenceChecks(once(wrong), once(expired));
  if (broken.length > 0) return [...broken, ...divergences];
  return [ok("boards", boards.map(({ name }) => name).join(", ")), ...divergences];
}

function told(problem: BoardFileProblem): [what: string, detail: string, mend: string] {
  const { where, message, next } = boardFileError(problem);
  return ["known divergences", `${where ?? ""}: ${message}`, next ?? "Correct the file."];
}

/** Each malformed entry stops a run before it starts; an expired one fails it. */
function divergenceChecks(
  problems: readonly BoardFileProblem[],
  expired: readonly BoardFileProblem[],
): Check[] {
  return [
    ...problems.map((one) => bad(...told(one), EXIT.usage)),
    ...expired.map((one) => warn(...told(one))),
  ];
}

/** Everything that one board needs of this host, apart from QEMU. */
export async function checkBoard(config: BoardConfig, context: CliContext): Promise<Check[]> {
  const checks: Check[] = [ok("board file", config.file)];
  const { selectionProblems } = await import("../run-loop/xtest-list.ts");
  const problems = [
    ...(await missingFiles(config.file, context)),
    ...(await selectionProblems(config, context)),
  ];
  for (const problem of problems) {
    const { where, message, next } = boardFileError(problem);
    checks.push(
      bad("file", `${where ?? ""}: ${message}`, next ?? "Correct the board file.", EXIT.usage),
    );
  }
  const known = await divergenceProblems(config.file, context);
  checks.push(...divergenceChecks(known.problems, known.expired));
  checks.push(...(await checkImage(config, context)));
  for (const { name, port } of config.consoles) {
    if ("device" in port) checks.push(await checkSerial(name, port.device));
  }
  checks.push(...(await checkPower(config, context.env)), ...checkSecrets(config, context.env));
  checks.push(await checkLock(config, context.env));
  return checks;
}

async function checkImage(config: BoardConfig, { env }: CliContext): Promise<Check[]> {
  if (config.image === undefined) return [];
  const prepared = await findPrepared(config.image, env);
  if (prepared !== undefined) {
    return [
      ok("image", `${config.image} is prepared: ${prepared.dir}`),
      await checkPrepareTools(env, false, config.image),
    ];
  }
  return [
    bad("image", `${config.image} is not prepared`, `lockstep prepare ${config.name}`),
    await checkPrepareTools(env, true, config.image),
  ];
}

async function checkSerial(name: string, device: string): Promise<Check> {
  const what = `console ${name}`;
  try {
    const info = await stat(device);
    if (!info.isCharacterDevice()) {
      return bad(what, `${device} is no serial device`, `Correct \`consoles.${name}.device\`.`);
    }
    await access(device, constants.R_OK | constants.W_OK);
    const stable = !/^\/dev\/tty(?:USB|ACM)\d+$/.test(device);
    return stable
      ? ok(what, device)
      : warn(
          what,
          `${device} can change when adapters are re-plugged`,
          "Use its link in /dev/serial/by-path.",
        );
  } catch (error) {
    if (errorCode(error) === "EACCES") {
      const mend = "sudo adduser $USER dialout, then log in again";
      return bad(what, `${device} may not be opened by you`, mend);
    }
    return bad(
      what,
      `${device} is not there`,
      "Plug the adapter in; `ls /dev/serial/by-path` shows all.",
    );
  }
}

async function checkPower(config: BoardConfig, env: NodeJS.ProcessEnv): Promise<Check[]> {
  const { power } = config;
  if (power.driver !== "command") return [];
  const program = /^[\w./-]+/.exec(power.on)?.[0] ?? "";
  const dir = path.dirname(config.file);
  const places = program.includes("/")
    ? [path.resolve(dir, program)]
    : (env["PATH"] ?? "").split(path.delimiter).map((at) => path.join(at, program));
  for (const place of places) {
    const found = await access(place, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (found) return [ok("power", place)];
  }
  return [
    warn("power", `the program "${program}" is not found`, "Install it, or correct `power.on`."),
  ];
}

function checkSecrets(config: BoardConfig, env: NodeJS.ProcessEnv): Check[] {
  const refs: [string, string | SecretRef | undefined][] = [
    ["ssh.key", config.ssh?.key],
    ["boot.linux.password", config.boot?.linux.password],
  ];
  return refs.flatMap(([what, ref]) => {
    if (typeof ref !== "object" || !("env" in ref)) return [];
    const isSet = (env[ref.env] ?? "") !== "";
    if (isSet) return [ok(what, `from ${ref.env}`)];
    return [lacking(true, what, `the variable ${ref.env} is not set`, `export ${ref.env}=…`)];
  });
}

async function checkLock(config: BoardConfig, env: NodeJS.ProcessEnv): Promise<Check> {
  const holder = await boardLockHolder(config.name, { runtimeDir: runtimeDir(env) });
  return holder === undefined
    ? ok("lock", "the board is free")
    : warn("lock", `in use: ${holder}`, "Wait for it to end, or stop it.");
}
