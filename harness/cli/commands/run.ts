import { Command, InvalidArgumentError, Option } from "commander";
import type { Conduit } from "../../machine/index.ts";
import type { RuleSetName } from "../../mediator/index.ts";
import type { CommandBuilder } from "../context.ts";
import type { BridgeTransport } from "../../board/index.ts";
import { examples } from "../help.ts";
import type { StressKind } from "../../run/index.ts";
import type { RunFlags } from "../run-loop/execute.ts";

const CONDUITS: readonly Conduit["kind"][] = ["direct", "hwdom", "vm"];
const RULES: readonly RuleSetName[] = ["strict", "xen", "kvm"];
const TRANSPORTS: readonly BridgeTransport[] = ["shared-ram", "agent", "console"];
const STRESS: readonly StressKind[] = ["memory"];

export const build: CommandBuilder = (context) => {
  const command = new Command("run")
    .description(
      "Run the suites on the emulated platform and on every board named, all of xtest included, " +
        "and leave a bundle with reports. A board that boots a reference image has it made first.",
    )
    .option("--board <board...>", "boards besides the emulated platform (default: LOCKSTEP_BOARD)")
    .option(
      "--target <file...>",
      "run on a secure world or mediator of your own too: an ES module (docs/extending.md)",
    )
    .option("--suite <suite...>", "run only these suites: the folders under suites/")
    .option("--filter <re...>", "run only cases whose id or title matches one of these")
    .addOption(
      new Option("--conduit <conduit...>", "run scenarios on these conduits only").choices(
        CONDUITS,
      ),
    )
    .addOption(
      new Option(
        "--rules <rules...>",
        "run scenarios of conduit vm under these mediator rules only",
      ).choices(RULES),
    )
    .addOption(
      new Option(
        "--stress <kind>",
        "put the emulated platform under stress; memory: balloon, donate and migrate pages of VMs",
      ).choices(STRESS),
    )
    .addOption(
      new Option(
        "--transport <transport>",
        "how scenarios reach the boards named, in place of what their files say",
      ).choices(TRANSPORTS),
    )
    .option(
      "--trace",
      "record what scenarios exchange with the secure world; always done when scenarios run on a board",
    )
    .option("--baseline <bundle>", "compare with an earlier bundle; worse than it fails the run")
    .option("--out <dir>", "folder of the bundle (default: lockstep-out/TIME, or LOCKSTEP_OUT)")
    .option("--retries <n>", "boot a board again after an infrastructure error", whole, 0)
    .option(
      "--seed <n>",
      "seed of everything that uses chance (default: LOCKSTEP_SEED, else 1)",
      whole,
    )
    .option(
      "--list-clauses",
      "list the clause catalogue with the tests and scenarios of each clause, and run nothing",
    )
    .option("--json", "print the results (or the catalogue) as one JSON document")
    .action(async (flags: RunFlags) => {
      const { executeRun } = await import("../run-loop/execute.ts");
      await executeRun(context, flags);
    });
  return examples(command, [
    ["lockstep run", "the emulated platform, within seconds"],
    ["lockstep run --board qemu-virt", "and a real OP-TEE in QEMU, with all of xtest"],
    ["lockstep run --suite normal-world --conduit vm --rules kvm", "one conduit, one rule set"],
    ["lockstep run --stress memory", "all of it while pages of every VM come and go"],
    ["lockstep run --suite xtest --filter 'regression_10[01]'", "some cases only"],
    ["lockstep run --board qemu-virt --baseline last-night", "what became worse since"],
    ["lockstep run --list-clauses --filter 'MED-0[67]'", "some clauses, with what proves them"],
  ]);
};

function whole(text: string): number {
  const value = Number(text);
  if (!/^\d{1,10}$/.test(text) || value > 0xffff_ffff) {
    throw new InvalidArgumentError("Write a whole number from 0 to 4294967295.");
  }
  return value;
}
