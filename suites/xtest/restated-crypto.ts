import type { Task } from "../../harness/machine/index.ts";
import {
  TEEC_PARAM,
  type TeecContext,
  TeecParam,
  type TeecSession,
} from "../../harness/normal-world/index.ts";
import { TEEC } from "../../harness/optee-abi/index.ts";
import { buffer, openSession } from "../support/client.ts";
import { CRYPT, RPC_TEST } from "../support/tas.ts";
import { check, checkResult, type Restatement, restate } from "./restate.ts";

interface Commands {
  readonly sha256: number;
  readonly encrypt: number;
  readonly decrypt: number;
}

/** AES-256-ECB of octets 0 to 31 under the key of octets 0 to 31. */
const PLAIN = Uint8Array.from({ length: 32 }, (_, index) => index);
const CIPHER = Uint8Array.from(
  Buffer.from("5a6e045708fb7196f02e553d02c3a692e9c3ef8ab23453e6f0749cd636e7a88e", "hex"),
);
const SHA256_OF_ABC = Uint8Array.from(
  Buffer.from("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "hex"),
);

/** Output of a command that takes one temporary input and gives one temporary output. */
function* transform(
  tee: TeecContext,
  session: TeecSession,
  command: number,
  input: Uint8Array,
  outputSize: number,
): Task<Uint8Array> {
  const output = buffer(tee, outputSize);
  const target = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_OUTPUT, output);
  const done = yield* tee.invokeCommand(session, command, [
    TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INPUT, buffer(tee, input)),
    target,
  ]);
  checkResult(done, TEEC.TEEC_SUCCESS, `command ${command}`);
  return output.read(0, target.size);
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.from(a).equals(b);

/** Five subcases, numbered from `prefix`1: a round trip, a hash, and both directions of a known pair. */
function* cryptoCases(
  run: Restatement,
  session: TeecSession,
  prefix: string,
  commands: Commands,
): Task {
  const { tee } = run;
  const block = Uint8Array.from({ length: 16 }, (_, index) => index * 7 + 3);
  let secret: Uint8Array = new Uint8Array(16);
  yield* run.subcase(`${prefix}1`, "AES-256 of one block", function* () {
    secret = yield* transform(tee, session, commands.encrypt, block, 16);
    check(!same(secret, block), "the block was changed");
  });
  yield* run.subcase(`${prefix}2`, "AES-256 back again", function* () {
    const back = yield* transform(tee, session, commands.decrypt, secret, 16);
    check(same(back, block), "decryption gives the block back");
  });
  yield* run.subcase(`${prefix}3`, "SHA-256 of 3 bytes", function* () {
    const abc = new TextEncoder().encode("abc");
    const hash = yield* transform(tee, session, commands.sha256, abc, 32);
    check(same(hash, SHA256_OF_ABC), "the published hash");
  });
  yield* run.subcase(`${prefix}4`, "AES-256 encryption of a known pair", function* () {
    const out = yield* transform(tee, session, commands.encrypt, PLAIN, 32);
    check(same(out, CIPHER), "the known ciphertext");
  });
  yield* run.subcase(`${prefix}5`, "AES-256 decryption of a known pair", function* () {
    const out = yield* transform(tee, session, commands.decrypt, CIPHER, 32);
    check(same(out, PLAIN), "the known plaintext");
  });
}

export const regression_1004 = restate(
  "regression_1004",
  "A user TA with cryptography",
  { clauses: ["MSG-3.LOAD_TA", "MSG-3.7", "MSG-2.2.EXPORT", "MSG-5.MEMREF_TEMP"] },
  function* (run) {
    const session = yield* openSession(run.tee, CRYPT.uuid);
    yield* cryptoCases(run, session, "", {
      sha256: CRYPT.SHA256,
      encrypt: CRYPT.AES256ECB_ENC,
      decrypt: CRYPT.AES256ECB_DEC,
    });
    yield* run.tee.closeSession(session);
  },
);

export const regression_1011 = restate(
  "regression_1011",
  "A TA as client of another",
  { clauses: ["MSG-3.7", "MSG-2.2.EXPORT"] },
  function* (run) {
    const session = yield* openSession(run.tee, RPC_TEST.uuid);
    yield* run.subcase("1", "With the client's shared memory", () =>
      cryptoCases(run, session, "1.", {
        sha256: RPC_TEST.CRYPT_SHA256,
        encrypt: RPC_TEST.CRYPT_AES256ECB_ENC,
        decrypt: RPC_TEST.CRYPT_AES256ECB_DEC,
      }),
    );
    yield* run.subcase("2", "With private memory of the TA", () =>
      cryptoCases(run, session, "2.", {
        sha256: RPC_TEST.CRYPT_PRIVMEM_SHA256,
        encrypt: RPC_TEST.CRYPT_PRIVMEM_AES256ECB_ENC,
        decrypt: RPC_TEST.CRYPT_PRIVMEM_AES256ECB_DEC,
      }),
    );
    yield* run.tee.closeSession(session);
  },
);
