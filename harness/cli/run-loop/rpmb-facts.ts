import type { FactsSheet, RpmbEvidence } from "../../run/index.ts";

/** What was seen of a board's RPMB in the course of a run. */
export interface RpmbSigns {
  readonly platform: FactsSheet["platform"];
  /** Lines of the consoles that tell of RPMB, in order. */
  readonly log: readonly string[];
  /** What its Linux said, where it was asked. */
  readonly linux?: LinuxSigns;
  /** A part that Lockstep serves to that Linux, and how often it was asked. */
  readonly served?: {
    readonly frames: number;
    readonly counterBefore: number;
    readonly counterAfter: number;
  };
  /** Storage cases of xtest that ran: with RPMB storage, and altogether. */
  readonly storageCases: { readonly rpmb: number; readonly all: number };
  /** What asking the part came to: a counter, or why there is none. */
  readonly asked?: { readonly before?: AskedCounter; readonly after?: AskedCounter };
}

export interface AskedCounter {
  readonly value?: number;
  readonly authentic: boolean;
  /** The route of the key, where it is proven. */
  readonly route?: string;
}

export interface LinuxSigns {
  /** /sys/class/tee/tee0/rpmb_routing_model: `kernel` or `user`. */
  readonly routing?: string;
  readonly supplicantRuns: boolean;
  /** The running tee-supplicant has its emulation compiled in. */
  readonly emulation: boolean;
  /** RPMB devices that tee-supplicant has open. */
  readonly opened: readonly string[];
  /** RPMB parts that Linux knows: devices, and its rpmb class. */
  readonly nodes: readonly string[];
}

type Backend = FactsSheet["rpmb"];

export interface RpmbFacts {
  readonly rpmb: Backend;
  /** Which hardware unique key is in use, where the key in use proves it. */
  readonly huk?: FactsSheet["huk"];
  readonly rpmbEvidence: RpmbEvidence;
}

const TEST_KEY = /RPMB: Using test key/;

/** What stands behind a board's RPMB, by what was seen; `unknown` unless something shows it. */
export function establishRpmb(signs: RpmbSigns): RpmbFacts {
  const [backend, ...how] = backendOf(signs);
  const testKey = signs.log.find((line) => TEST_KEY.test(line));
  const route = signs.asked?.after?.route ?? signs.asked?.before?.route;
  const counter = counterOf(signs);
  const evidence = (sentences: readonly string[]): RpmbEvidence => ({
    how: sentences,
    ...(counter !== undefined && { counter }),
  });
  if (testKey !== undefined) {
    return {
      rpmb: "test key",
      rpmbEvidence: evidence([`OP-TEE's log: ${quoted(testKey)}`, ...how]),
    };
  }
  if (route === "test-key") {
    const proof = "an authenticated counter read is under the published test key";
    return { rpmb: "test key", rpmbEvidence: evidence([proof, ...how]) };
  }
  const proof =
    route === undefined ? [] : [`an authenticated counter read is under the key ${route}`];
  const huk = HUKS.get(route?.split("/")[0] ?? "");
  return {
    rpmb: backend,
    ...(huk !== undefined && { huk }),
    rpmbEvidence: evidence([...how, ...proof]),
  };
}

/** What the source of a proven key says of the hardware unique key. */
const HUKS: ReadonlyMap<string, FactsSheet["huk"]> = new Map([
  ["zero-stub", "stub"],
  ["caam-open", "open"],
  ["caam-closed", "closed"],
]);

/** The backend, then what shows it. */
function backendOf(signs: RpmbSigns): [Backend, ...string[]] {
  const { platform, log, linux, served, storageCases } = signs;
  if (served !== undefined && served.frames > 0) {
    return [
      "emulated by Lockstep",
      `the part that Lockstep serves to the board exchanged ${served.frames} frames with it`,
    ];
  }
  const [opened] = linux?.opened ?? [];
  if (linux?.routing === "kernel") {
    const parts = linux.nodes.filter((node) => node.startsWith("/sys/class/rpmb/"));
    const how = `rpmb_routing_model is kernel, and Linux has ${parts.join(", ") || "no part"}`;
    if (parts.length === 0) return ["none", how];
    return platform === "hardware"
      ? ["real", how]
      : ["unknown", `${how}, which is the emulator's own`];
  }
  if (opened !== undefined) {
    const how = `tee-supplicant has ${opened} open`;
    return platform === "hardware"
      ? ["real", how]
      : ["unknown", `${how}, which is the emulator's own`];
  }
  const said = log.find((line) => !TEST_KEY.test(line)) ?? log[0];
  const used = said !== undefined || storageCases.rpmb > 0;
  if (served === undefined && linux?.emulation === true && used) {
    return [
      "emulated by supplicant",
      "tee-supplicant has its emulation compiled in (ioctl_emu) and no device open",
      said === undefined
        ? `${storageCases.rpmb} storage cases ran on storage id 80000100`
        : `OP-TEE's log: ${quoted(said)}`,
    ];
  }
  if (!used && storageCases.all > 0) {
    return [
      "none",
      "the storage cases of xtest ran without storage id 80000100, and OP-TEE's log tells of no RPMB",
    ];
  }
  if (served !== undefined) return ["unknown", "the part that Lockstep serves was never asked"];
  return ["unknown", ...(said === undefined ? [] : [`OP-TEE's log: ${quoted(said)}`])];
}

function counterOf({ served, asked }: RpmbSigns): RpmbEvidence["counter"] {
  if (served !== undefined && served.frames > 0) {
    return { before: served.counterBefore, after: served.counterAfter, authentic: true };
  }
  const [before, after] = [asked?.before?.value, asked?.after?.value];
  if (before === undefined && after === undefined) return undefined;
  const read = [asked?.before, asked?.after].filter((one) => one?.value !== undefined);
  return {
    ...(before !== undefined && { before }),
    ...(after !== undefined && { after }),
    authentic: read.every((one) => one?.authentic === true),
  };
}

const quoted = (line: string): string => line.trim().slice(0, 120);

/** Whether a console line tells of RPMB: OP-TEE's own lines begin with the level and `/TC:`. */
export const tellsOfRpmb = (line: string): boolean => /\/TC:.*\bRPMB\b/.test(line);

/**
 * A script for a board's shell that reads what `parseLinuxSigns` takes. It opens nothing but files of
 * procfs and sysfs, and the program that tee-supplicant is.
 */
export const LINUX_SIGNS_SCRIPT = [
  'for f in /sys/class/tee/tee*/rpmb_routing_model; do [ -r "$f" ] && echo "routing $(cat "$f")"; done',
  'for p in $(pidof tee-supplicant); do echo "supplicant $p"',
  'grep -qs ioctl_emu "/proc/$p/exe" && echo emulation',
  'for f in "/proc/$p/fd"/*; do l=$(readlink "$f"); case "$l" in /dev/mmcblk*rpmb) echo "opened $l";; esac; done; done',
  'for n in /dev/mmcblk*rpmb /sys/class/rpmb/*; do [ -e "$n" ] && echo "node $n"; done',
  "echo end",
].join("\n");

/** What the script printed; undefined unless it came to its end. */
export function parseLinuxSigns(output: string): LinuxSigns | undefined {
  const lines = output.split("\n").map((line) => line.trim());
  if (!lines.includes("end")) return undefined;
  const valuesOf = (name: string): string[] =>
    lines.flatMap((line) => {
      const [key, value = ""] = line.split(" ");
      return key === name && /^[\w./:-]{1,100}$/.test(value) ? [value] : [];
    });
  const [routing] = valuesOf("routing");
  return {
    ...(routing !== undefined && { routing }),
    supplicantRuns: valuesOf("supplicant").length > 0,
    emulation: lines.includes("emulation"),
    opened: [...new Set(valuesOf("opened"))],
    nodes: valuesOf("node"),
  };
}
