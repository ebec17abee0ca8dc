import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("mediator/side-by-side");
const ETHREAD_LIMIT = 1;

test(
  "MED-111: calls of one VM are made and answered on whatever vCPU, up to one for each thread",
  "severalVcpus",
  async (run) => {
    expect(await run()).toEqual({
      refusal: ETHREAD_LIMIT,
      several: true,
      ownThreads: true,
      goneOn: true,
    });
  },
);

test(
  "MED-063: pages that the hypervisor takes while they are shared work on, and are reused only afterwards",
  "takenWhileShared",
  async (run) => {
    expect(await run()).toEqual({
      registering: 0,
      ballooned: true,
      donated: "waiting",
      added: 0,
      sum: 42,
      during: { arrived: false, free: false },
      after: { arrived: true, free: true },
      zero: true,
    });
  },
);

test(
  "MED-084: temporary memory is right in every call, interrupted or not",
  "temporaryAgain",
  async (run) => {
    expect(await run()).toEqual({ wrong: 0 });
  },
);
