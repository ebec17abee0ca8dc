import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("normal-world/services");

test(
  "a TA is loaded by the supplicant into memory of its own; a TA that sleeps asks the kernel",
  "rpcKinds",
  async (run) => {
    expect(await run()).toEqual({
      loaded: ["LOAD_TA", "SHM_ALLOC", "SHM_FREE"],
      result: 0,
      slept: true,
      kinds: ["SUSPEND"],
    });
  },
);

test(
  "sockets of a TA reach peers, and those left open go with its instance",
  "sockets",
  async (run) => {
    const echoed = { opened: 0, sent: [0, 5], received: [0, "hello"] };
    expect(await run()).toEqual({
      tcp: echoed,
      udp: echoed,
      refused: { opened: 0xffff_000e, error: 0 },
      unknown: { opened: 0xf100_7001, error: 0xf100_7007 },
      during: 2,
      after: 0,
    });
  },
);

test(
  "a user's logins give UUIDs of the user and of its groups, not of others",
  "userLogins",
  async (run) => {
    expect(await run()).toEqual([
      "fc34275c-d8dd-5ba7-968b-504718363b87",
      "d32f761e-b364-519b-be12-ed54ba663b0a",
      "7c74c113-92c7-5ad5-8188-f9f29844a15d",
      { result: 0xffff_0000, origin: 2 },
    ]);
  },
);

test("a client killed in a call leaves neither sessions nor memory", "clientDeath", async (run) => {
  expect(await run()).toEqual({ died: true, left: { contexts: 0, shm: 0 }, next: 0 });
});

test("clients wait for the next supplicant", "supplicantDeath", async (run) => {
  expect(await run()).toEqual({ waited: true, started: 0, result: 0, loads: 2 });
});
