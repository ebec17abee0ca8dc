import { InfrastructureError, InternalError, UsageError } from "../../base/index.ts";
import { MAX_COUNTER } from "../../rpmb/index.ts";
import type { CounterClaim } from "./mmc-utils.ts";

/** Runs one command at U-Boot's prompt and gives the lines that it printed. */
export type LoaderCommand = (command: string) => Promise<readonly string[]>;

/** Commands of U-Boot that leave a part as it is; nothing else is typed. */
const READS = /^mmc (?:dev \d{1,2}|info|rpmb counter)$/;

const REASON =
  "U-Boot asks with a nonce of zeros and checks no MAC on counters: an answer that was recorded before looks the same";

/** What `mmc info` says of the part. */
export interface LoaderPart {
  readonly manufacturer?: number;
  readonly oem?: number;
  readonly name?: string;
}

/**
 * Asks the part with this number through U-Boot's own `mmc rpmb counter`. Throws UsageError where that
 * U-Boot has no such command, InfrastructureError where there is no such part.
 */
export async function counterByLoader(
  run: LoaderCommand,
  index: number,
  where: string,
): Promise<CounterClaim & { readonly part: LoaderPart }> {
  const type = async (command: string): Promise<string> => {
    if (!READS.test(command)) {
      throw new InternalError("a command that may change the part was about to be typed", {
        seen: command,
      });
    }
    return (await run(command)).join("\n");
  };
  const chosen = await type(`mmc dev ${index}`);
  if (isUnknown(chosen)) throw noCommand(where, "CONFIG_CMD_MMC", chosen);
  if (!/^mmc\d+(?:\(part \d+\))? is current device/m.test(chosen)) {
    throw new InfrastructureError(`U-Boot finds no part as mmc ${index}`, {
      where,
      seen: brief(chosen),
      next: "`mmc list` at its prompt shows the numbers; --loader-mmc chooses one.",
    });
  }
  const part = partIn(await type("mmc info"));
  const said = await type("mmc rpmb counter");
  const value = /RPMB Write counter= ([0-9a-f]{1,8})\s*$/m.exec(said)?.[1];
  if (value !== undefined) {
    const counter = Number.parseInt(value, 16);
    const expired = counter === MAX_COUNTER;
    return { programmed: true, counter: { value: counter, expired }, reason: REASON, part };
  }
  if (/key not yet programmed/.test(said)) return { programmed: false, reason: REASON, part };
  if (isUnknown(said)) throw noCommand(where, "CONFIG_SUPPORT_EMMC_RPMB", said);
  return { programmed: undefined, reason: `${REASON}; it printed: ${brief(said)}`, part };
}

const isUnknown = (said: string): boolean => /Unknown command|^Usage:|^mmc - MMC/m.test(said);

function noCommand(where: string, option: string, seen: string): UsageError {
  return new UsageError("this U-Boot cannot ask a part for its RPMB counter", {
    where,
    expected: `a U-Boot with ${option}`,
    seen: brief(seen),
    next: "Use --over ssh, once the board's Linux is up.",
  });
}

function partIn(said: string): LoaderPart {
  const manufacturer = /^Manufacturer ID: ([0-9a-f]{1,2})\s*$/m.exec(said)?.[1];
  const oem = /^OEM: ([0-9a-f]{1,4})\s*$/m.exec(said)?.[1];
  const name = /^Name: ([ -~]{1,6}?)\s*$/m.exec(said)?.[1];
  return {
    ...(manufacturer !== undefined && { manufacturer: Number.parseInt(manufacturer, 16) }),
    ...(oem !== undefined && { oem: Number.parseInt(oem, 16) }),
    ...(name !== undefined && { name }),
  };
}

const brief = (text: string): string =>
  text.trim().replaceAll(/\s+/g, " ").slice(0, 200) || "nothing";
