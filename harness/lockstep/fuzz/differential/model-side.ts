import { NIL_UUID } from "../../../base/index.ts";
import { type PlatformPort, SparseMemory, type Window } from "../../../machine/index.ts";
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
import type { Plant } from "./plant.ts";
import { runOnSide, type SideResult } from "./run.ts";
import { shelf } from "./shelf.ts";

/** What an image of ours has before its code. */
const HEADERS = buildTaImage({ uuid: NIL_UUID, imageSize: 0 }).length;

/** What a file has of code, were it one of ours; not positive where there is none. */
const codeOf = (
  real: ReadonlyMap<string, Uint8Array>,
  { uuid }: { readonly uuid: string },
): number => (real.get(uuid)?.length ?? 0) - HEADERS;

interface ModelTas {
  readonly tas: readonly TrustedApplication[];
  readonly images: ReadonlyMap<string, Uint8Array>;
}

const known = new WeakMap<ReadonlyMap<string, Uint8Array>, ModelTas>();

/** The modelled TAs that a real image has too, each in an image of the real one's length. */
export function tasLike(real: ReadonlyMap<string, Uint8Array>): ModelTas {
  const made = known.get(real) ?? makeTas(real);
  known.set(real, made);
  return made;
}

function makeTas(real: ReadonlyMap<string, Uint8Array>): ModelTas {
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
  readonly plant?: Plant;
}

/** Runs a program on the model. */
export function runOnModel(
  program: Program,
  { rules, ram, tas: real, plant }: ModelOptions,
): SideResult {
  const { tas, images } = tasLike(real);
  const port = modelPort(ram, tas, plant?.where === "secure world" ? plant : undefined);
  return runOnSide(program, {
    port,
    ram,
    rules,
    tas: shelf(images),
    ...(plant?.where === "mediator" ? { plant } : {}),
  });
}

/** The OP-TEE model built as the real one is, with RAM where the real machine has it. */
export function modelPort(
  ram: Window,
  tas: readonly TrustedApplication[],
  plant?: Plant,
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
  const real: PlatformPort["smc"] = (registers) => world.smc(registers);
  const smc = plant?.plant(real, host) ?? real;
  return {
    memory: host,
    smc: (registers) => {
      now += 1;
      smc(registers);
    },
  };
}
