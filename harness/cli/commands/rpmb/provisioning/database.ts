import type { KeyObject } from "node:crypto";
import path from "node:path";
import { databaseKeyOf } from "../../../../provision/index.ts";
import type { CliContext } from "../../../context.ts";
import { unsealingOf } from "../../../key-opening.ts";
import type { ProvisionFlags } from "./flags.ts";

/** The key of the part with this CID in a file that `rpmb derive --batch` wrote. Throws UsageError. */
export async function findInDatabase(
  context: CliContext,
  flags: ProvisionFlags,
  database: string,
  cid: string,
): Promise<KeyObject | undefined> {
  const unsealing = await unsealingOf(context, flags);
  return await databaseKeyOf(path.resolve(context.cwd, database), cid, unsealing);
}
