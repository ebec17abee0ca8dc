import { NIL_UUID } from "../../../base/index.ts";
import {
  type PhysicalMemory,
  type PlatformPort,
  SparseMemory,
  type Window,
} from "../../../machine/index.ts";
import {
  buildTaImage,
  buildTaImages,
  DEBIAN_4_5_VIRTUALIZED,
  PSEUDO_TAS,
  SecureWorld,
  USER_TAS,
  type TrustedApplication,
} from "../../../secure-world/index.ts";
import type { RuleSetName } from "../../../mediator/index.ts";
import { KNOWN } from "../layout.ts";
import type { Program } from "../program.ts";
import { runOnSide, type SideResult } from "./run.ts";
import { shelf } from "./shelf.ts";

/** Another way into the secure world, for tests that plant a bug. */
export type Wrap = (smc: PlatformPort["smc"], memory: PhysicalMemory) => PlatformPort["smc"];

/** What an image of ours has before its code. */
const HEADERS = buildTaImage({ uuid: NIL_UUID, imageSize: 0 }).length;

/** What a file has of code, were it one of ours; not positive where there is none. */
const codeOf = (
  real: ReadonlyMap<string, Uint8Array>,
  { uuid }: { readonly uuid: string },
): number => (real.get(uuid)?.length ?? 0) - HEADERS;

/** The modelled TAs that a real image has too, each in an image of the real one's length. */
export function tasLike(real: ReadonlyMap<string, Uint8Array>): {
  readonly tas: readonly TrustedApplication[];
  readonly images: ReadonlyMap<string, Uint8Array>;
} {
  const tas = USER_TAS.flatMap((ta) => {
    const libraries = (ta.libraries ?? []).map((one) => ({ ...one, imageSize: codeOf(real, one) }));
    const like = { ...ta, imageSize: codeOf(real, ta), libraries };
    return [like, ...libraries].every(({ imageSize }) => imageSize > 0) ? [like] : [];
  });
  return { tas, images: buildTaImages(tas) };
}

/** The model's side of a comparison. */
export interface ModelOptions {
  readonly rules: RuleSetName;
  /** RAM of the real machine that the model's is like. */
  readonly ram: Window;
  /** The `.ta` files of the real machine's image, by UUID. */
  readonly tas: ReadonlyMap<string, Uint8Array>;
  /** A bug to plant, for tests. */
  readonly wrap?: Wrap;
}

/** Runs a program on the model. */
export function runOnModel(
  program: Program,
  { rules, ram, tas: real, wrap }: ModelOptions,
): SideResult {
  const { tas, images } = tasLike(real);
  return runOnSide(program, { port: modelPort(ram, tas, wrap), ram, rules, tas: shelf(images) });
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
  const host = memory.view("normal", "host");
  const smc = wrap((registers) => world.smc(registers), host);
  return {
    memory: host,
    smc: (registers) => {
      now += 1;
      smc(registers);
    },
  };
}
