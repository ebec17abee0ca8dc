import { type PlatformPort, SparseMemory, type Window } from "../../../machine/index.ts";
import {
  buildTaImage,
  DEBIAN_4_5_VIRTUALIZED,
  PSEUDO_TAS,
  SecureWorld,
  USER_TAS,
  type TrustedApplication,
} from "../../../secure-world/index.ts";
import { KNOWN } from "../layout.ts";

/** Another way into the secure world, for tests that plant a bug. */
export type Wrap = (smc: PlatformPort["smc"]) => PlatformPort["smc"];

/** What an image of ours has before its code. */
const HEADERS = buildTaImage({ ...emptyTa(), imageSize: 0 }).length;

function emptyTa(): TrustedApplication {
  const [ta] = USER_TAS;
  if (ta === undefined) throw new RangeError("the model has no TAs");
  return ta;
}

/** The modelled TAs that a real image has too, each in an image of the real one's length. */
export function tasLike(real: ReadonlyMap<string, Uint8Array>): {
  readonly tas: readonly TrustedApplication[];
  readonly images: ReadonlyMap<string, Uint8Array>;
} {
  const tas = USER_TAS.flatMap((ta) => {
    const length = real.get(ta.uuid)?.length ?? 0;
    return length <= HEADERS ? [] : [{ ...ta, imageSize: length - HEADERS }];
  });
  return { tas, images: new Map(tas.map((ta) => [ta.uuid, buildTaImage(ta)])) };
}

/** The OP-TEE model built as the real one is, with RAM where the real machine has it. */
export function modelPort(
  ram: Window,
  tas: readonly TrustedApplication[],
  wrap: Wrap = (smc) => smc,
): PlatformPort {
  const memory = new SparseMemory([
    { name: "secure RAM", ...KNOWN.secure, type: "ram", secure: true },
    { name: "RAM", ...ram, type: "ram" },
  ]);
  let now = 0;
  const world = new SecureWorld({
    build: DEBIAN_4_5_VIRTUALIZED,
    memory: memory.view("normal", "secure"),
    nowMs: () => now,
    pseudoTas: PSEUDO_TAS,
    userTas: tas,
  });
  const smc = wrap((registers) => world.smc(registers));
  return {
    memory: memory.view("normal", "host"),
    smc: (registers) => {
      now += 1;
      smc(registers);
    },
  };
}
