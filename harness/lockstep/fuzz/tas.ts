import { buildTaImages, PSEUDO_TAS, USER_TAS } from "../../secure-world/index.ts";
import type { TaShelf } from "./program-machine.ts";

/** The modelled TAs with images of a page or two, so that loading them costs little. */
export const FUZZ_TAS = USER_TAS.map((ta, index) => ({
  ...ta,
  imageSize: index % 3 === 0 ? 5000 : 900,
  libraries: (ta.libraries ?? []).map((library) => ({ ...library, imageSize: 900 })),
}));

const ALL = [...PSEUDO_TAS, ...FUZZ_TAS];

/** Names of the TAs that programs open, pseudo-TAs first. */
export const TA_NAMES: readonly string[] = ALL.map(({ name }) => name);

const UUIDS = new Map(ALL.map(({ name, uuid }) => [name, uuid]));

/** The UUID of the TA of that name. Throws RangeError for a name that is none. */
export function uuidOf(name: string): string {
  const uuid = UUIDS.get(name);
  if (uuid === undefined) throw new RangeError(`no TA is called ${name}`);
  return uuid;
}

let images: ReadonlyMap<string, Uint8Array> | undefined;

/** The image of a TA, as a supplicant would find it. */
function imageOf(uuid: string): Uint8Array | undefined {
  images ??= buildTaImages(FUZZ_TAS);
  return images.get(uuid);
}

/** The modelled TAs; programs invoke whatever they like. */
export const MODELLED_TAS: TaShelf = {
  uuidOf,
  imageOf,
  invocation: (_uuid, func, params) => ({ func, params }),
};
