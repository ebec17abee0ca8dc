import { createSecretKey } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import { secrets } from "../../base/index.ts";
import { loadBoard } from "../../board/index.ts";
import { deriveRpmbKey, keyDigits } from "../../rpmb/index.ts";
import { temporaryFolder } from "../testing/run-cli.ts";
import { maskKeysOf } from "./board-keys.ts";

const HUK = "f0e1d2c3b4a5968778695a4b3c2d1e0f";
const CID = "150100424a5444345203a1b2c3d4c593";
let removeAll = (): void => {};
const cwd = temporaryFolder((remove) => (removeAll = remove));
afterAll(() => removeAll());
mkdirSync(path.join(cwd, "boards"));
writeFileSync(path.join(cwd, "boards", "huk.hex"), `${HUK.toUpperCase()}\n`, { mode: 0o600 });

const board = async (name: string, huk: string): Promise<void> => {
  writeFileSync(
    path.join(cwd, "boards", `${name}.yaml`),
    `type: qemu-virt\nimage: qemu-virt\nrpmb: { part: emulated, cid: "${CID}", optee: { huk: ${huk} } }\n`,
  );
  await maskKeysOf(await loadBoard(name, { cwd, env: {} }));
};

test("the hardware unique key that a board's file refers to is masked, and so is what comes of it", async () => {
  const keys = [true, false].map((compat) =>
    keyDigits(
      deriveRpmbKey(createSecretKey(Buffer.from(HUK, "hex")), Buffer.from(CID, "hex"), { compat }),
    ),
  );
  await board("bare", "zero-stub");
  await board("unset", "{ env: NO_SUCH_VARIABLE_HERE }");
  for (const key of [HUK, ...keys]) expect(secrets.mask(key)).toBe(key);
  await board("own", "{ file: huk.hex }");
  for (const key of [HUK, ...keys]) expect(secrets.mask(key)).toBe("*".repeat(key.length));
});
