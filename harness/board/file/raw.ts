/** The shape of a board or type file as its schema admits it, before merging and conversion. */

import type {
  BridgeReset,
  BridgeTransport,
  HukSource,
  LifeCycle,
  RpmbRouting,
  SecretRef,
} from "./model.ts";

type Optional<T> = { readonly [K in keyof T]?: T[K] | undefined };

export type RawSecret = Optional<{ env: string; file: string }>;

/** A reference that its schema has admitted: exactly one of the two. */
export const secretRef = (raw: RawSecret): SecretRef =>
  raw.env === undefined ? { file: raw.file ?? "" } : { env: raw.env };

export type RawConsole = Optional<{
  primary: boolean;
  serial: number;
  device: string;
  baud: number;
}>;

export type RawSsh = Optional<{
  host: string;
  port: number;
  user: string;
  key: RawSecret;
  host_key: string;
}>;

export type RawXtest = Optional<{
  over: "ssh" | "console";
  level: number;
  suites: readonly string[];
  exclude: readonly string[];
  case_timeout: string;
  silence_timeout: string;
}>;

export type RawRpmb = Optional<{
  device: string;
  part: "emulated";
  cid: string;
  size_multiplier: number;
  state: string;
  optee: Optional<{
    write_key: boolean;
    test_key: boolean;
    compat: boolean;
    huk: HukSource | RawSecret;
    reset_fat: boolean;
    key_service: boolean;
    routing: RpmbRouting;
    rpmb_emu: boolean;
  }>;
}>;

export type RawBoard = Optional<{
  type: string;
  platform: "emulated" | "qemu" | "hardware";
  soc: string;
  description: string;
  on_exit: "off" | "leave";
  expendable: boolean;
  life_cycle: LifeCycle;
  conduits: readonly ("direct" | "hwdom" | "vm")[];
  consoles: Readonly<Record<string, RawConsole>>;
  character_delay: string;
  power: Optional<{
    driver: "qemu" | "command" | "manual" | "none";
    on: string;
    off: string;
    cycle: string;
    settle: string;
  }>;
  qemu: Optional<{
    binary: string;
    machine: string;
    options: Readonly<Record<string, string | number | boolean>>;
    cpu: string;
    cores: number;
    memory: string;
    guest_loader: Optional<{ address: number }>;
    extra: readonly string[];
  }>;
  ssh: RawSsh | "none";
  image: string;
  images: Readonly<Record<string, string | undefined>>;
  boot: Optional<{
    bootloader: Optional<{ autoboot: string; interrupt: string; prompt: string; timeout: string }>;
    linux: Optional<{
      command: string;
      login: string;
      user: string;
      password: RawSecret;
      prompt: string;
      timeout: string;
    }>;
    tee_ready: Optional<{ command: string; timeout: string }>;
  }>;
  xtest: RawXtest | "none";
  bridge: Optional<{
    free_ram: Optional<{ base: number; size: string }>;
    line_limit: number;
    ram_base: number;
    transport: BridgeTransport;
    reset: BridgeReset;
    tas: string;
    guest: "xen";
    uart: { kind: "pl011" | "imx"; base: number };
    watchdog: { kind: "imx-wdog"; base: number };
    gic: { distributor: number; redistributor: number };
    foreign_ram: Optional<{ base: number; size: string }>;
  }>;
  rpmb: RawRpmb;
}>;

type Mutable = Record<string, unknown>;

const isMap = (value: unknown): value is Mutable =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Keys whose value is one thing, replaced as a whole although it is written as a map. */
const ATOMIC = new Set(["key", "password", "huk"]);

/** `over` on top of `base`: maps are merged key by key, lists and everything else replaced. */
export function mergeRaw<T>(base: T, over: T): T {
  return merge(base, over) as T;
}

function merge(base: unknown, over: unknown): unknown {
  if (over === undefined) return base;
  if (!isMap(base) || !isMap(over)) return over;
  const out: Mutable = { ...base };
  for (const [key, value] of Object.entries(over)) {
    out[key] = ATOMIC.has(key) ? (value ?? base[key]) : merge(base[key], value);
  }
  return out;
}

/** The keys of `images` that are files; the others are command lines. */
export const IMAGE_FILE_KEYS = [
  "bios",
  "flash",
  "hypervisor",
  "kernel",
  "initrd",
  "dtb",
  "rootfs",
] as const;

/**
 * `data` with every relative path made absolute by `resolve`. What counts as a path: `images.*`
 * but command lines, `bridge.tas`, `rpmb.state`, consoles' devices, `{file:}` secrets, `ssh.host_key` that is no key line, and
 * `qemu.binary` with a slash in it.
 */
export function resolvePaths(data: RawBoard, resolve: (relative: string) => string): RawBoard {
  const secret = (ref: RawSecret | undefined): RawSecret | undefined =>
    ref?.file === undefined ? ref : { file: resolve(ref.file) };
  const path = (file: string | undefined): string | undefined =>
    file === undefined ? undefined : resolve(file);
  const { images, qemu, boot, consoles, bridge, rpmb } = data;
  const huk = rpmb?.optee?.huk;
  const ssh = data.ssh === "none" ? undefined : data.ssh;
  const hostKey = ssh?.host_key;
  return {
    ...data,
    bridge: bridge && { ...bridge, tas: path(bridge.tas) },
    rpmb: rpmb && {
      ...rpmb,
      state: path(rpmb.state),
      optee: typeof huk === "object" ? { ...rpmb.optee, huk: secret(huk) } : rpmb.optee,
    },
    images: images && {
      ...images,
      ...Object.fromEntries(IMAGE_FILE_KEYS.map((key) => [key, path(images[key])])),
    },
    consoles:
      consoles &&
      Object.fromEntries(
        Object.entries(consoles).map(([name, console]) => [
          name,
          { ...console, device: path(console.device) },
        ]),
      ),
    ssh:
      ssh === undefined
        ? data.ssh
        : {
            ...ssh,
            key: secret(ssh.key),
            host_key: hostKey === undefined || isKeyLine(hostKey) ? hostKey : resolve(hostKey),
          },
    qemu: qemu && {
      ...qemu,
      binary: qemu.binary?.includes("/") === true ? resolve(qemu.binary) : qemu.binary,
    },
    boot: boot && {
      ...boot,
      linux: boot.linux && { ...boot.linux, password: secret(boot.linux.password) },
    },
  };
}

/** A public key as one line of a `.pub` file, not the path of one. */
export function isKeyLine(text: string): boolean {
  return /^(?:ssh-|ecdsa-|sk-)[\w@.-]+\s+[A-Za-z0-9+/=]+/.test(text);
}
