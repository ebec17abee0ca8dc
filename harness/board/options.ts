import type { Duplex } from "node:stream";
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

/** What stands at the host's end of a virtio-serial port of a QEMU board. */
export interface GuestPort {
  /** The port's name in the guest, `/sys/class/virtio-ports/vport…/name`. */
  readonly name: string;
  /**
   * The machine is switched on, with `stream` to its guest; what is returned is called when it is
   * off again. `failed` says that nothing will be served any more, and why: an incident that whoever
   * runs the lab must mend. Throws where there is nothing to serve: then the machine stays off.
   */
  powerOn(stream: Duplex, failed: (reason: string) => void): () => void;
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
  /** QEMU: a virtio-serial port of the guest. */
  readonly guestPort?: GuestPort;
}
