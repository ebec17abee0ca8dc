/** A board file after loading: type and unit merged, relative paths made absolute, secrets unread. */

/** A secret by reference; its value never stands in a board file. */
export type SecretRef = { readonly env: string } | { readonly file: string };

export interface ConsoleConfig {
  /** `normal`, `secure`, or a name of the board's own. */
  readonly name: string;
  /** The one that carries the boot loader's prompt and Linux's login. Exactly one per board. */
  readonly primary: boolean;
  /** QEMU: index of the serial port (0 or 1). Hardware: a device path, preferably by-path. */
  readonly port:
    | { readonly qemuSerial: number }
    | { readonly device: string; readonly baud: number };
}

/** Files that a board boots, absolute paths. Which are needed depends on the type. */
export interface ImageFiles {
  readonly bios?: string;
  readonly flash?: string;
  readonly kernel?: string;
  readonly initrd?: string;
  readonly dtb?: string;
  readonly rootfs?: string;
  /** Kernel command line. */
  readonly append?: string;
  /** What is started in place of the kernel, which becomes its first guest's, and its command line. */
  readonly hypervisor?: string;
  readonly hypervisorAppend?: string;
}

export interface QemuConfig {
  readonly binary: string;
  readonly machine: string;
  /** `-machine` properties in file order, e.g. `secure: on`. */
  readonly options: Readonly<Record<string, string>>;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryMiB: number;
  /** Where the kernel of a hypervisor's first guest is put, by QEMU's guest-loader: bytes. */
  readonly guestLoader?: { readonly address: number };
  /** Further arguments, e.g. devices, passed as they are. */
  readonly extra: readonly string[];
}

export interface SshConfig {
  /** A name or address, or `forward` on QEMU: a free local port is chosen and forwarded to the guest's `port`. */
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** Private key file, or a reference; for a reference image the image's own client key. */
  readonly key?: string | SecretRef;
  /** Public host key line or file that pins the board; for a reference image its own. */
  readonly hostKey?: string;
}

export type PowerConfig =
  | { readonly driver: "qemu" }
  | {
      readonly driver: "command";
      readonly on: string;
      readonly off: string;
      readonly cycle?: string;
      readonly settleMs: number;
    }
  | { readonly driver: "manual" }
  | { readonly driver: "none" };

/** Deadlines in milliseconds for reaching each state, and what to look for on the way. */
export interface BootConfig {
  readonly bootloader: {
    readonly autoboot: string;
    readonly interrupt: string;
    readonly prompt: string;
    readonly timeoutMs: number;
  };
  readonly linux: {
    /** Typed at the boot loader's prompt to go on to Linux, e.g. `boot`. */
    readonly command: string;
    readonly login?: string;
    readonly user: string;
    readonly password?: SecretRef;
    readonly prompt: string;
    readonly timeoutMs: number;
  };
  readonly teeReady: { readonly command: string; readonly timeoutMs: number };
}

export interface XtestConfig {
  readonly over: "ssh" | "console";
  readonly level: number;
  readonly suites: readonly string[];
  readonly exclude: readonly string[];
  /** Longest time for one case, and longest silence within one, in milliseconds. */
  readonly caseTimeoutMs: number;
  readonly silenceTimeoutMs: number;
}

/** Every way to memory and SMCs of a machine at its boot loader, the fastest first. */
export type BridgeTransport = "shared-ram" | "agent" | "console";

/** `each`: before every scenario. `unclean`: unless the one before provably left nothing behind. */
export type BridgeReset = "each" | "unclean";

/** What the bridge may use while the board stands at its boot loader's prompt. */
export interface BridgeConfig {
  /** Physical addresses in bytes. */
  readonly freeRam: { readonly base: number; readonly size: number };
  /** Longest line that the boot loader takes, in characters. */
  readonly lineLimit: number;
  /** QEMU: the physical address of the first byte of RAM. */
  readonly ramBase?: number;
  /** How memory and SMCs are reached; chosen by what else the file says when left out. */
  readonly transport?: BridgeTransport;
  /** When the board is reset between scenarios; by what the board can do when left out. */
  readonly reset?: BridgeReset;
  /** The folder of the `.ta` files that the board's OP-TEE takes, absolute. */
  readonly tas?: string;
  /**
   * A hypervisor whose first guest our program becomes: its mediator stands in front of the secure
   * world, and follows the rule set of that name.
   */
  readonly guest?: "xen";
  /** The UART that carries the boot loader's prompt. */
  readonly uart?: { readonly kind: "pl011" | "imx"; readonly base: number };
  /** What the boot loader has started and nobody else serves. */
  readonly watchdog?: { readonly kind: "imx-wdog"; readonly base: number };
  /** A GICv3. */
  readonly gic?: { readonly distributor: number; readonly redistributor: number };
  /** RAM of the machine that is not that guest's and that nobody uses: what attacks are aimed at. */
  readonly foreignRam?: { readonly base: number; readonly size: number };
}

/** HAB state of an i.MX8M unit. */
export type LifeCycle = "open" | "closed" | "unknown";

/** Who carries RPMB frames for OP-TEE. */
export type RpmbRouting = "supplicant" | "kernel";

/** Named sources of a hardware unique key (RPMB-3.1): all zero bytes, or the i.MX8M's CAAM. */
export type HukSource = "zero-stub" | "caam-open" | "caam-closed";

/** How the board's OP-TEE and supplicant were built, as far as known: what is not is left out. */
export interface RpmbBuild {
  /** CFG_RPMB_WRITE_KEY. */
  readonly writeKey?: boolean;
  /** CFG_RPMB_TESTKEY. */
  readonly testKey?: boolean;
  /** CFG_CORE_HUK_SUBKEY_COMPAT. */
  readonly compat?: boolean;
  /** A named source, or the key itself in hex by reference. */
  readonly huk?: HukSource | SecretRef;
  /** CFG_RPMB_RESET_FAT. */
  readonly resetFat?: boolean;
  /** Lockstep's key-read service is built in. */
  readonly keyService?: boolean;
  readonly routing?: RpmbRouting;
  /** RPMB_EMU: the supplicant emulates a part and never reaches the real one. */
  readonly supplicantEmulation?: boolean;
}

export interface RpmbConfig {
  /** The part's device on the board's Linux. Excludes `emulated`. */
  readonly device?: string;
  /** 32 lower-case hex digits: the CID that the part at `device` is expected to show. */
  readonly expectedCid?: string;
  /**
   * Lockstep serves the part: CID as above, size in units of 128 KiB. The part is in `state`, an
   * absolute path, for good; without it a blank one is made whenever power comes on.
   */
  readonly emulated?: {
    readonly cid: string;
    readonly sizeMultiplier: number;
    readonly state?: string;
  };
  readonly optee: RpmbBuild;
}

export interface BoardConfig {
  readonly name: string;
  readonly type: string;
  readonly description: string;
  /** The board file, for messages. */
  readonly file: string;
  readonly platform: "emulated" | "qemu" | "hardware";
  readonly soc: string;
  readonly onExit: "off" | "leave";
  /** This unit may be changed irreversibly. */
  readonly expendable: boolean;
  readonly lifeCycle: LifeCycle;
  readonly conduits: readonly ("direct" | "hwdom" | "vm")[];
  readonly consoles: readonly ConsoleConfig[];
  readonly power: PowerConfig;
  readonly qemu?: QemuConfig;
  readonly ssh?: SshConfig;
  /** Name of a reference image that `lockstep prepare` makes; `images` override its files. */
  readonly image?: string;
  readonly images: ImageFiles;
  readonly boot?: BootConfig;
  /** Undefined where xtest cannot run on the board. */
  readonly xtest?: XtestConfig;
  readonly bridge?: BridgeConfig;
  readonly rpmb?: RpmbConfig;
  /** Milliseconds between typed characters on the primary console. */
  readonly characterDelayMs: number;
}
