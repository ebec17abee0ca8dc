import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("mediator/teardown");

const CASES = [
  ["inAlloc", "ALLOC", "ALLOC of an RPC argument"],
  ["inShmAlloc", "SHM_ALLOC", "SHM_ALLOC"],
  ["inSecondShmAlloc", "SHM_ALLOC", "SHM_ALLOC, other memory in use"],
  ["inFiles", "FS", "a request of its files"],
  ["inLoadTa", "LOAD_TA", "LOAD_TA without memory"],
  ["inSecondLoadTa", "LOAD_TA", "LOAD_TA with memory"],
  ["inShmFree", "SHM_FREE", "SHM_FREE"],
  ["inFree", "FREE", "FREE of an RPC argument"],
  ["inNotification", "NOTIFICATION", "NOTIFICATION, one call waiting for another"],
  ["inSuspend", "SUSPEND", "SUSPEND"],
  ["inEverything", "NOTIFICATION", "all its threads, with memory and sessions"],
] as const;

for (const [scenario, reached, what] of CASES) {
  test(
    `MED-161, MED-164, SMC-8.5: a VM that ends in ${what} leaves nothing to the next`,
    scenario,
    async (run) => {
      expect(await run()).toEqual({
        reached,
        suspended: true,
        held: 0,
        dead: [0xffff_ffff, 0xffff_ffff],
        resumed: 3,
        loading: 0xffff_0008,
        session: 1,
      });
    },
  );
}
