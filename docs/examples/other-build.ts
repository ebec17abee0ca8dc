/**
 * A secure world of one's own behind Lockstep's mediator and drivers. This one is Lockstep's model of
 * OP-TEE in another build (three threads, no notifications) and counts what it is asked; anything that
 * takes registers and memory can stand here.
 *
 *     lockstep run --target dist/docs/examples/other-build.js
 */
import type { OwnTarget } from "tee-lockstep/platform";
import {
  DEBIAN_4_5,
  DEBIAN_4_5_VIRTUALIZED,
  PSEUDO_TAS,
  SecureWorld,
  USER_TAS,
} from "tee-lockstep/secure-world";

const target: OwnTarget = {
  name: "three-threads",
  createSecureWorld: ({ memory, conduit, vms = 2, nowMs, interruptPending, print }) => {
    const stock = conduit === "vm" ? DEBIAN_4_5_VIRTUALIZED : DEBIAN_4_5;
    // One partition more: under rule set kvm the host is a client as well.
    const guestCount = Math.max(stock.guestCount, vms + 1);
    const world = new SecureWorld({
      build: {
        ...stock,
        threads: 3,
        asyncNotif: false,
        guestCount,
        taRam: (stock.taRam / stock.guestCount) * guestCount,
      },
      memory,
      nowMs,
      interruptPending,
      pseudoTas: PSEUDO_TAS,
      userTas: USER_TAS,
      console: print,
    });
    let calls = 0;
    return {
      smc: (registers) => {
        calls += 1;
        if (calls % 1000 === 0) print(`${calls} SMCs so far`);
        world.smc(registers);
      },
    };
  },
};
export default target;
