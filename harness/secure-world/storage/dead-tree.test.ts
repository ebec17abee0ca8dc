import { expect, test } from "@jest/globals";
import { FS_OP, RPC_CMD, TEEC } from "../../optee-abi/index.ts";
import { CRYPT_UUID } from "../tas/index.ts";
import { SecureKit } from "../testkit/kit.ts";

/** Refuses the reads of the directory while the first object that loading a TA makes gets its name. */
function refusing(minor: number): SecureKit {
  const kit = new SecureKit({ build: { version: { major: 4, minor } } });
  let created = 0;
  kit.onCommand = (message, own, at) => {
    if (message.cmd !== RPC_CMD.FS) return false;
    const operation = Number(message.params[0]?.a);
    if (operation === FS_OP.CREATE) created += 1;
    if (operation !== FS_OP.READ || created < 3) return false;
    own.reply(message, at, TEEC.TEEC_ERROR_GENERIC);
    return true;
  };
  return kit;
}

test("MSG-3.FS: before 4.10 the core panics when a directory that could not be read is read again", () => {
  const kit = refusing(5);
  expect(() => kit.open(CRYPT_UUID)).toThrow(/a core data-abort in the REE file system/);
  expect(() => kit.smc(0)).toThrow(/a core data-abort/);
});

test("MSG-3.FS: from 4.10 on it is a corrupt object", () => {
  const kit = refusing(10);
  expect(kit.open(CRYPT_UUID)).toMatchObject({ ret: TEEC.TEEC_ERROR_CORRUPT_OBJECT });
  kit.onCommand = undefined;
  expect(kit.open(CRYPT_UUID).ret).toBe(TEEC.TEEC_SUCCESS);
});
