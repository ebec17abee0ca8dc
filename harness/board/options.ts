import type { Progress } from "../base/index.ts";
import type { BoardObserver } from "./observer.ts";

/**
 * What a reference image brings along. The result of `findPrepared` of the images room fits; a
 * file that the board file names itself wins over the image's.
 */
export interface PreparedFiles {
  /** Absolute paths. */
  readonly files: {
    readonly bios?: string;
    readonly kernel?: string;
    readonly initrd?: string;
    readonly hypervisor?: string;
  };
  /** Kernel command line. */
  readonly append?: string;
  /** The hypervisor's command line. */
  readonly hypervisorAppend?: string;
  readonly ssh?: {
    /** Private key file of the image's own client key. */
    readonly clientKeyFile: string;
    /** `ssh-ed25519 AAAA…`: the public host key that the image shows. */
    readonly hostKeyLine: string;
  };
}

export interface OpenBoardOptions {
  readonly observer: BoardObserver;
  readonly progress: Progress;
  /** Ends every wait on the board and closes it as `on_exit` says (QEMU is always ended). */
  readonly abort: AbortSignal;
  readonly prepared?: PreparedFiles;
  /**
   * A folder where QEMU keeps its own log of every console (`<console>.log`, appended over power
   * cycles): the ground truth against which our raw stream can be checked.
   */
  readonly qemuLogs?: string;
  /** QEMU: a file that is the machine's RAM, shared with whoever else opens it; made if it is not there. */
  readonly sharedRam?: string;
  /** QEMU: a program that is started in place of the kernel. */
  readonly kernel?: string;
}
