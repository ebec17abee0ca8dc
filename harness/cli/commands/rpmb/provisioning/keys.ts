import type { KeyObject } from "node:crypto";
import { secrets, UsageError } from "../../../../base/index.ts";
import type { KeyView } from "../../../../provision/index.ts";
import { derive, keyDigits, keyId } from "../../../../rpmb/index.ts";
import type { CliContext } from "../../../context.ts";
import { openKeyFile } from "../../../key-opening.ts";
import { type RequestFlags, requestOf, TEST_KEY } from "../derive-request.ts";
import { hukInputs } from "../../../known-keys.ts";
import { findInDatabase } from "./database.ts";
import type { ProvisionFlags } from "./flags.ts";
import type { Subject } from "./subject.ts";

/** A key and its public face. */
export interface PlannedKey {
  readonly key: KeyObject;
  readonly view: KeyView;
}

/** What keys are derived from; the hardware unique key is asked for once. */
export type Deriver = (cid: string) => PlannedKey | undefined;

/**
 * Derives keys as the command line says, or else as the board file says of its OP-TEE. Undefined where
 * neither says enough. Throws UsageError, never with a hardware unique key in it.
 */
export async function makeDeriver(
  context: CliContext,
  flags: ProvisionFlags,
  { config, view }: Subject,
): Promise<Deriver | undefined> {
  const { build } = view;
  const opening = flags.identity === undefined ? {} : { identity: flags.identity };
  const compat = flags.compat && (build.compat ?? true);
  if (flags.source !== undefined || flags.huk !== undefined) {
    const request: RequestFlags = {
      usage: "rpmb",
      compat,
      cid: "00".repeat(16),
      ...(flags.source !== undefined && { source: flags.source }),
      ...(flags.huk !== undefined && { huk: flags.huk }),
      ...opening,
    };
    const made = await requestOf(context, request);
    return (cid) =>
      planned(made.usage === "rpmb" ? { ...made, cid: Buffer.from(cid, "hex") } : made);
  }
  if (build.testKey === true) return () => planned({ usage: "test-key" });
  // The model of a write-key build for an emulated part alone has the usual stub.
  const isModel = config === undefined && flags.route === "write-key-build";
  if (build.huk === "zero-stub" || isModel) {
    const made = await requestOf(context, {
      usage: "rpmb",
      compat,
      source: "zero-stub",
      cid: "00".repeat(16),
    });
    return (cid) =>
      planned(made.usage === "rpmb" ? { ...made, cid: Buffer.from(cid, "hex") } : made);
  }
  if (typeof build.huk !== "object") return undefined;
  const [huk] = await hukInputs(context, opening, config);
  if (huk === undefined) return undefined;
  return (cid) => planned({ usage: "rpmb", huk, compat, cid: Buffer.from(cid, "hex") });
}

/** Whatever is written from here on has no such digits in it. */
const masked = (key: KeyObject): void => secrets.add(keyDigits(key));

function planned(request: Parameters<typeof derive>[0]): PlannedKey {
  const { key, keyId: id } = derive(request);
  masked(key);
  if (request.usage !== "rpmb") {
    const how = "the published key of CFG_RPMB_TESTKEY=y builds";
    return { key, view: { id, how, source: TEST_KEY, published: true } };
  }
  const { huk, compat } = request;
  return {
    key,
    view: {
      id,
      how: `${huk.source.title}, ${huk.how}, CFG_CORE_HUK_SUBKEY_COMPAT=${compat ? "y" : "n"}`,
      source: huk.source.name,
      compat,
      hukSize: huk.size,
      published: huk.published,
    },
  };
}

/** A key from elsewhere, e.g. a database. */
export function foreignKey(key: KeyObject, source: string, how: string): PlannedKey {
  masked(key);
  return { key, view: { id: keyId(key), how, source, published: false } };
}

/**
 * The key of a part in the database or key file that the command line names; undefined where the
 * database has none. Throws UsageError for a file that cannot be used.
 */
export async function databaseKey(
  context: CliContext,
  flags: ProvisionFlags,
  cid: string,
): Promise<PlannedKey | undefined> {
  const { database, keyFile } = flags;
  if (database !== undefined && keyFile !== undefined) {
    throw new UsageError("--database and --key-file exclude each other");
  }
  if (database !== undefined) {
    const key = await findInDatabase(context, flags, database, cid);
    return key === undefined
      ? undefined
      : foreignKey(key, "database", `the row of this CID in ${database}`);
  }
  const key = await openKeyFile(context, flags);
  return key === undefined ? undefined : foreignKey(key, "key-file", `the key in ${keyFile ?? ""}`);
}
