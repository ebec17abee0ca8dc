import type { Progress } from "../base/index.ts";

/** One Debian package of an image, as apt resolved and verified it. */
export interface PackageRecord {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  /** Hex SHA-256 of the .deb, from apt's signed index and checked on the file that was unpacked. */
  readonly sha256: string;
  /** `rootfs`: unpacked whole into the initramfs. `parts`: only the files that the recipe names. */
  readonly use: "rootfs" | "parts";
}

/** A source package that something in an image was built from. */
export interface SourceRecord {
  readonly name: string;
  readonly version: string;
  /** File name to hex SHA-256, as in the signed index. */
  readonly files: Readonly<Record<string, string>>;
  /** False where the archive had lost Debian's part and the upstream tarball alone was used. */
  readonly patched: boolean;
}

/** Everything that says what an image is made of. Holds no path and no host name. */
export interface ImageManifest {
  readonly format: number;
  readonly name: string;
  readonly description: string;
  readonly suite: string;
  readonly architecture: string;
  /** Archive parts that apt looked at, e.g. `trixie`, `trixie-updates`, `trixie-security`. */
  readonly suites: readonly string[];
  /** Hex SHA-256 over the recipe, its files and the format of the builder. */
  readonly recipe: string;
  /** Hex SHA-256 over `recipe` and every resolved version: what the image is made of. */
  readonly inputs: string;
  readonly packages: readonly PackageRecord[];
  readonly sources: readonly SourceRecord[];
  /** What differs from the versions that the recipe was proven with, and what the archive had lost. */
  readonly notes: readonly string[];
  /** Host tool to the version it printed. */
  readonly tools: Readonly<Record<string, string>>;
  /** Build commands, with `<name>` in place of folders. */
  readonly commands: readonly string[];
  /** Output file (relative to the image folder) to size in bytes and hex SHA-256. */
  readonly files: Readonly<Record<string, { readonly size: number; readonly sha256: string }>>;
  /** Kernel command line. */
  readonly append: string;
  /** Where OP-TEE was built for the image: hex SHA-256 of all that decided it, and its options. */
  readonly optee?: { readonly build: string; readonly config: Readonly<Record<string, string>> };
  /** The hypervisor's file and its command line, where the image has one. */
  readonly hypervisor?: { readonly file: string; readonly append: string };
  readonly ssh: { readonly user: string; readonly hostKeyLine: string };
}

/** A finished image in the user's cache. */
export interface PreparedImage {
  readonly name: string;
  /** Absolute path of the image folder. */
  readonly dir: string;
  readonly manifest: ImageManifest;
  /** Absolute paths. */
  readonly files: {
    readonly bios: string;
    readonly kernel: string;
    readonly initrd: string;
    readonly hypervisor?: string;
  };
  /** Kernel command line. */
  readonly append: string;
  /** The hypervisor's command line, where there is one. */
  readonly hypervisorAppend?: string;
  readonly ssh: {
    readonly user: string;
    /** Private key in OpenSSH format, made for this image alone, mode 0600. */
    readonly clientKeyFile: string;
    /** `ssh-ed25519 AAAA…`: the public host key that every boot of this image shows. */
    readonly hostKeyLine: string;
  };
  /** Package name to version; source packages as `src:NAME`. */
  readonly packages: Readonly<Record<string, string>>;
  /** What the board boots: output file to hex SHA-256. */
  readonly sha256: Readonly<Record<string, string>>;
}

export interface PrepareOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly progress: Progress;
  readonly abort: AbortSignal;
  /** Base URL of a Debian mirror; without it `LOCKSTEP_DEBIAN_MIRROR`, else the host's apt sources. */
  readonly mirror?: string;
  /** Asks the mirror for newer packages even if the image is there; builds only if something changed. */
  readonly update?: boolean;
  /** Builds again even if the image is there and nothing changed. */
  readonly rebuild?: boolean;
}

/** The three files that every image has, relative to its folder. */
export const IMAGE_FILES = {
  bios: "firmware.bios",
  kernel: "Image",
  initrd: "initramfs.cpio.gz",
} as const;

export const CLIENT_KEY_FILE = "ssh/client_ed25519";
export const MANIFEST_FILE = "manifest.json";

/** Raised whenever the builder itself would make something different from the same recipe. */
export const BUILDER_FORMAT = 1;
