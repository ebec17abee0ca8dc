import type {
  BoardConfig,
  BootConfig,
  BridgeConfig,
  ConsoleConfig,
  ImageFiles,
  PowerConfig,
  QemuConfig,
  SshConfig,
  XtestConfig,
} from "./model.ts";
import { IMAGE_FILE_KEYS, type RawBoard, secretRef } from "./raw.ts";
import { convertRpmb } from "./convert-rpmb.ts";
import type { DataPath } from "./source.ts";

/** Reports a problem at a place of the merged data, in whichever file that place was written. */
export type Blame = (at: DataPath, message: string, next?: string) => void;

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds of a duration that its schema has admitted, e.g. `500ms`, `1.5s`, `5m`. */
export function durationMs(text: string): number {
  const [, count = "0", unit = "ms"] = /^([\d.]+)(ms|s|m|h)$/.exec(text) ?? [];
  return Math.round(Number(count) * (UNIT_MS[unit] ?? 1));
}

/**
 * Turns merged, schema-checked data with absolute paths into a `BoardConfig`, filling in defaults.
 * Everything that does not fit together is reported through `blame`; the result is then not to be used.
 */
export function convert(raw: RawBoard, name: string, file: string, blame: Blame): BoardConfig {
  const platform = raw.platform ?? "hardware";
  refuseForeignSections(raw, platform, blame);
  const consoles = platform === "emulated" ? [] : convertConsoles(raw, platform, blame);
  const qemu = platform === "qemu" ? convertQemu(raw, blame) : undefined;
  const ssh = platform === "emulated" ? undefined : convertSsh(raw, platform, blame);
  const boot = platform === "emulated" ? undefined : convertBoot(raw, blame);
  const xtest = platform === "emulated" ? undefined : convertXtest(raw, ssh, blame);
  const power = convertPower(raw, platform, blame);
  if (raw.bridge?.guest !== undefined && raw.bridge.ram_base === undefined) {
    blame(
      ["bridge", "guest"],
      "a hypervisor's guest is reached through the machine's RAM, which needs `bridge.ram_base` and QEMU",
    );
  }
  const { conduits = [] } = raw;
  if (power.driver === "none" && raw.on_exit === "off" && platform === "hardware") {
    blame(
      ["on_exit"],
      "`on_exit: off` is not possible: the board has no power driver to switch it off",
    );
  }
  if (platform === "qemu" && raw.on_exit === "leave") {
    blame(
      ["on_exit"],
      "`on_exit: leave` is not possible: QEMU ends with the command that started it",
    );
  }
  return {
    name,
    type: raw.type ?? "",
    description: raw.description ?? "",
    file,
    platform,
    soc: raw.soc ?? "",
    onExit: raw.on_exit ?? (platform === "hardware" && power.driver === "none" ? "leave" : "off"),
    expendable: raw.expendable ?? false,
    lifeCycle: raw.life_cycle ?? "unknown",
    conduits,
    consoles,
    power,
    ...(qemu && { qemu }),
    ...(ssh && { ssh }),
    ...(raw.image !== undefined && { image: raw.image }),
    images: convertImages(raw),
    ...(boot && { boot }),
    ...(xtest && { xtest }),
    ...(raw.bridge &&
      platform !== "emulated" && {
        bridge: convertBridge(raw.bridge, platform, conduits, blame),
      }),
    ...(raw.rpmb && { rpmb: convertRpmb(raw.rpmb, platform, blame) }),
    characterDelayMs: durationMs(raw.character_delay ?? "0ms"),
  };
}

function refuseForeignSections(raw: RawBoard, platform: string, blame: Blame): void {
  const machine = ["consoles", "ssh", "image", "images", "boot", "xtest", "bridge"] as const;
  const foreign = platform === "emulated" ? [...machine, "qemu" as const] : ["qemu" as const];
  if (platform === "qemu") return;
  for (const key of foreign) {
    if (raw[key] !== undefined)
      blame([key], `\`${key}\` means nothing on a board of platform ${platform}`);
  }
}

function convertConsoles(raw: RawBoard, platform: string, blame: Blame): ConsoleConfig[] {
  const entries = Object.entries(raw.consoles ?? {});
  if (entries.length === 0) {
    blame(
      ["consoles"],
      "the board has no console",
      "Add e.g. `consoles: { normal: { serial: 0 } }`.",
    );
  }
  const primaries = entries.filter(([, console]) => console.primary === true);
  if (entries.length > 1 && primaries.length !== 1) {
    const seen = primaries.length === 0 ? "none" : primaries.map(([name]) => name).join(", ");
    blame(["consoles"], `exactly one console must be \`primary: true\`; seen: ${seen}`);
  }
  const taken = new Map<string | number, string>();
  return entries.flatMap(([name, console]): ConsoleConfig[] => {
    const primary = console.primary ?? entries.length === 1;
    const { serial, device } = console;
    const wanted = platform === "qemu" ? "serial" : "device";
    const other = platform === "qemu" ? "device" : "serial";
    if (console[other] !== undefined) {
      blame(
        ["consoles", name, other],
        `a ${platform} board's console is named by \`${wanted}\`, not \`${other}\``,
      );
    }
    const place = platform === "qemu" ? serial : device;
    if (place === undefined) {
      blame(["consoles", name], `console ${name} lacks \`${wanted}\``);
      return [];
    }
    const owner = taken.get(place);
    if (owner !== undefined)
      blame(["consoles", name, wanted], `${place} is already the ${owner} console`);
    taken.set(place, name);
    return typeof place === "number"
      ? [{ name, primary, port: { qemuSerial: place } }]
      : [{ name, primary, port: { device: place, baud: console.baud ?? 115_200 } }];
  });
}

function convertPower(raw: RawBoard, platform: string, blame: Blame): PowerConfig {
  const power = raw.power ?? {};
  const natural = { emulated: "none", qemu: "qemu", hardware: "manual" } as const;
  const driver = power.driver ?? natural[platform as keyof typeof natural];
  if (
    (platform === "qemu") !== (driver === "qemu") ||
    (platform === "emulated" && driver !== "none")
  ) {
    blame(
      ["power", "driver"],
      `\`driver: ${driver}\` does not fit a board of platform ${platform}`,
    );
  }
  if (driver !== "command") return { driver };
  for (const key of ["on", "off"] as const) {
    if (power[key] === undefined) blame(["power"], `\`driver: command\` needs \`${key}\``);
  }
  return {
    driver,
    on: power.on ?? "",
    off: power.off ?? "",
    ...(power.cycle !== undefined && { cycle: power.cycle }),
    settleMs: durationMs(power.settle ?? "5s"),
  };
}

function machineOption(value: string | number | boolean): string {
  if (typeof value === "boolean") return value ? "on" : "off";
  return String(value);
}

function convertQemu(raw: RawBoard, blame: Blame): QemuConfig {
  const { qemu = {}, image, images } = raw;
  for (const key of ["machine", "cpu", "memory"] as const) {
    if (qemu?.[key] === undefined) blame(["qemu"], `a QEMU board needs \`qemu.${key}\``);
  }
  if (image === undefined && images?.["bios"] === undefined && images?.["flash"] === undefined) {
    blame(
      ["images"],
      "the board has nothing to boot",
      "Name a reference image (`image: qemu-virt`) or firmware of your own (`images: { bios: … }`).",
    );
  }
  if (images?.["bios"] !== undefined && images["flash"] !== undefined) {
    blame(
      ["images", "flash"],
      "`bios` and `flash` exclude each other: QEMU starts from one of them",
      "Leave one out.",
    );
  }
  const loader = qemu.guest_loader;
  if (images?.["hypervisor"] !== undefined && loader === undefined) {
    blame(
      ["images", "hypervisor"],
      "a hypervisor needs a place for its guest's kernel",
      "Name one that is free when the hypervisor starts: `qemu: { guest_loader: { address: 0x50000000 } }`.",
    );
  }
  return {
    binary: qemu.binary ?? "qemu-system-aarch64",
    machine: qemu.machine ?? "",
    options: Object.fromEntries(
      Object.entries(qemu.options ?? {}).map(([key, value]) => [key, machineOption(value)]),
    ),
    cpu: qemu.cpu ?? "",
    cores: qemu.cores ?? 1,
    memoryMiB: mebibytes(qemu.memory ?? ""),
    ...(loader !== undefined && { guestLoader: { address: loader.address ?? 0 } }),
    extra: qemu.extra ?? [],
  };
}

/** MiB of a size that its schema has admitted, e.g. `64MiB`, `2GiB`. */
function mebibytes(text: string): number {
  const [, size = "0", unit] = /^(\d+)(MiB|GiB)$/.exec(text) ?? [];
  return Number(size) * (unit === "GiB" ? 1024 : 1);
}

const DEFAULT_LINE_LIMIT = 240;

/** RAM for the bridge's program, a driver, and on conduit `vm` the mediator and a VM, in MiB. */
const SCENARIO_MIB = { plain: 32, vm: 64 } as const;

function convertBridge(
  raw: NonNullable<RawBoard["bridge"]>,
  platform: string,
  conduits: BoardConfig["conduits"],
  blame: Blame,
): BridgeConfig {
  if (raw.free_ram === undefined) blame(["bridge"], "`bridge` lacks the key `free_ram`");
  if (raw.transport === "shared-ram" && (platform !== "qemu" || raw.ram_base === undefined)) {
    blame(
      ["bridge", "transport"],
      "`transport: shared-ram` is for QEMU boards that say where their RAM begins (`ram_base`)",
    );
  }
  const size = mebibytes(raw.free_ram?.size ?? "");
  const needed = conduits.includes("vm") ? SCENARIO_MIB.vm : SCENARIO_MIB.plain;
  if (raw.free_ram !== undefined && conduits.length > 0 && size < needed) {
    blame(
      ["bridge", "free_ram", "size"],
      `${size} MiB are too little for scenarios on ${conduits.join(", ")}: they take ${needed} MiB`,
    );
  }
  const ram = (area: typeof raw.free_ram): BridgeConfig["freeRam"] => ({
    base: area?.base ?? 0,
    size: mebibytes(area?.size ?? "") * 1024 * 1024,
  });
  return {
    freeRam: ram(raw.free_ram),
    ...(raw.foreign_ram === undefined ? {} : { foreignRam: ram(raw.foreign_ram) }),
    lineLimit: raw.line_limit ?? DEFAULT_LINE_LIMIT,
    ...(raw.ram_base === undefined ? {} : { ramBase: raw.ram_base }),
    ...(raw.transport === undefined ? {} : { transport: raw.transport }),
    ...(raw.reset === undefined ? {} : { reset: raw.reset }),
    ...(raw.tas === undefined ? {} : { tas: raw.tas }),
    ...(raw.guest === undefined ? {} : { guest: raw.guest }),
    ...(raw.uart && { uart: raw.uart }),
    ...(raw.watchdog && { watchdog: raw.watchdog }),
    ...(raw.gic && { gic: raw.gic }),
  };
}

function convertSsh(raw: RawBoard, platform: string, blame: Blame): SshConfig | undefined {
  const { ssh } = raw;
  if (ssh === undefined || ssh === "none") return undefined;
  const host = ssh.host ?? (platform === "qemu" ? "forward" : "");
  if (host === "") blame(["ssh"], "`ssh` lacks `host`");
  if (host === "forward" && platform !== "qemu") {
    blame(["ssh", "host"], "`host: forward` is for QEMU boards; name the board's address");
  }
  return {
    host,
    port: ssh.port ?? 22,
    user: ssh.user ?? "root",
    ...(ssh.key && { key: secretRef(ssh.key) }),
    ...(ssh.host_key !== undefined && { hostKey: ssh.host_key }),
  };
}

function convertImages(raw: RawBoard): ImageFiles {
  const out: Record<string, string> = {};
  for (const key of [...IMAGE_FILE_KEYS, "append"]) {
    const value = raw.images?.[key];
    if (value !== undefined) out[key] = value;
  }
  const append = raw.images?.["hypervisor_append"];
  return append === undefined ? out : { ...out, hypervisorAppend: append };
}

function convertBoot(raw: RawBoard, blame: Blame): BootConfig {
  const { bootloader = {}, linux = {}, tee_ready: teeReady = {} } = raw.boot ?? {};
  const pattern = (at: DataPath, text: string): string => {
    try {
      return new RegExp(text).source;
    } catch {
      blame(
        at,
        `${JSON.stringify(text)} is not a regular expression`,
        "Escape ( [ { ? * + . with a backslash.",
      );
      return text;
    }
  };
  return {
    bootloader: {
      autoboot: pattern(["boot", "bootloader", "autoboot"], bootloader.autoboot ?? "stop autoboot"),
      interrupt: bootloader.interrupt ?? " ",
      prompt: pattern(["boot", "bootloader", "prompt"], bootloader.prompt ?? "=> $"),
      timeoutMs: durationMs(bootloader.timeout ?? "60s"),
    },
    linux: {
      command: linux.command ?? "boot",
      ...(linux.login !== undefined && { login: pattern(["boot", "linux", "login"], linux.login) }),
      user: linux.user ?? "root",
      ...(linux.password && { password: secretRef(linux.password) }),
      prompt: pattern(["boot", "linux", "prompt"], linux.prompt ?? "[#$] $"),
      timeoutMs: durationMs(linux.timeout ?? "180s"),
    },
    teeReady: {
      command: teeReady.command ?? "test -c /dev/tee0 && test -c /dev/teepriv0",
      timeoutMs: durationMs(teeReady.timeout ?? "60s"),
    },
  };
}

function convertXtest(
  raw: RawBoard,
  ssh: SshConfig | undefined,
  blame: Blame,
): XtestConfig | undefined {
  if (raw.xtest === "none") return undefined;
  const xtest = raw.xtest ?? {};
  const over = xtest.over ?? (ssh === undefined ? "console" : "ssh");
  if (over === "ssh" && ssh === undefined) {
    blame(
      ["xtest", "over"],
      "`over: ssh` needs an `ssh` section",
      "Add one, or write `over: console`.",
    );
  }
  return {
    over,
    level: xtest.level ?? 0,
    suites: xtest.suites ?? ["regression", "pkcs11"],
    exclude: xtest.exclude ?? [],
    caseTimeoutMs: durationMs(xtest.case_timeout ?? "300s"),
    silenceTimeoutMs: durationMs(xtest.silence_timeout ?? "120s"),
  };
}
