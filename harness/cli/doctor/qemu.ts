import { execFile } from "node:child_process";
import type { BoardConfig } from "../../board/index.ts";
import { errorCode } from "../../base/index.ts";
import { bad, type Check, lacking, ok } from "./check.ts";

const OLDEST = [7, 2] as const;
const PATIENCE_MS = 20_000;

interface Answer {
  readonly text: string;
  /** `ENOENT`, `EACCES`: the program did not start. */
  readonly code?: string;
}

async function ask(
  binary: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<Answer> {
  return await new Promise((resolve) => {
    execFile(binary, args, { env, timeout: PATIENCE_MS }, (error, stdout, stderr) => {
      const code = errorCode(error);
      resolve({ text: `${stdout}\n${stderr}`, ...(code !== undefined && { code }) });
    });
  });
}

/** Is QEMU there, new enough, and does it have the machine and the CPU that a board asks for? */
export async function checkQemu(
  config: Pick<BoardConfig, "qemu"> | undefined,
  env: NodeJS.ProcessEnv,
): Promise<Check[]> {
  const binary = config?.qemu?.binary ?? "qemu-system-aarch64";
  const needed = config !== undefined;
  const install = "sudo apt-get install --yes --no-install-recommends qemu-system-arm";
  const version = await ask(binary, ["--version"], env);
  if (version.code !== undefined) {
    const isPath = binary.includes("/");
    const absent = isPath ? "is not there" : "is not installed";
    const why = version.code === "EACCES" ? "may not be run by you" : absent;
    const mend = isPath ? "Build it, or correct `qemu.binary`." : install;
    return [lacking(needed, "QEMU", `${binary} ${why}`, mend)];
  }
  const [, text = "", major = "0", minor = "0"] =
    /version ((\d+)\.(\d+)\S*)/.exec(version.text) ?? [];
  if (text === "") {
    return [lacking(needed, "QEMU", `${binary} --version says no version`, "Check `qemu.binary`.")];
  }
  const isOld =
    Number(major) < OLDEST[0] || (Number(major) === OLDEST[0] && Number(minor) < OLDEST[1]);
  if (isOld) {
    return [
      lacking(needed, "QEMU", `${binary} ${text} is older than ${OLDEST.join(".")}`, install),
    ];
  }
  const checks = [ok("QEMU", `${binary} ${text}`)];
  if (config?.qemu === undefined) return checks;

  const { machine, cpu } = config.qemu;
  const machines = await ask(binary, ["-machine", "help"], env);
  if (!names(machines.text).has(machine)) {
    const mend = "Correct `qemu.machine`, or install a QEMU that has it.";
    return [...checks, bad("machine", `${binary} has no machine "${machine}"`, mend)];
  }
  const cpus = await ask(binary, ["-machine", machine, "-cpu", "help"], env);
  // A CPU may carry properties: `max,sme=off`.
  const model = cpu.split(",", 1)[0] ?? "";
  return names(cpus.text).has(model)
    ? [...checks, ok("machine", `${machine} with ${cpu}`)]
    : [...checks, bad("machine", `${binary} has no CPU "${model}"`, "Correct `qemu.cpu`.")];
}

/** The first word of each line. */
function names(text: string): Set<string> {
  return new Set(text.split("\n").map((line) => line.trim().split(/\s+/, 1)[0] ?? ""));
}
