import path from "node:path";
import { BoardFileError } from "../../base/index.ts";
import type { BoardConfig, ImageFiles } from "../file/model.ts";

/** What is decided at each start: where QMP listens and which local port leads to the guest's SSH. */
export interface LaunchPlan {
  readonly qmpSocket: string;
  /** Local TCP port forwarded to the guest, where `ssh.host` is `forward`. */
  readonly sshPort?: number;
  /** Folder for QEMU's own console logs. */
  readonly logs?: string;
  /** A file that is the machine's RAM. */
  readonly sharedRam?: string;
  /** A virtio-serial port of the guest, and the socket on which we listen for QEMU's end of it. */
  readonly guestPort?: { readonly name: string; readonly socket: string };
}

/** Id of the network back end that carries SSH; `extra` may attach a device of its own to it. */
const NETDEV = "lockstep";
const RAM = "lockstep-ram";
const PORT = "lockstep-port";

/** The chardev id of a console, as `query-chardev` names it. */
export function chardevOf(serial: number): string {
  return `serial${serial}`;
}

/**
 * The command line for `config`, without the binary. The machine starts paused (`-S`), and stops
 * instead of ending when the guest switches itself off (`-no-shutdown`), so that its last output can
 * be read; every image is opened so that the guest cannot change it. Works with QEMU 7.2 and newer.
 */
export function qemuArguments(config: BoardConfig, images: ImageFiles, plan: LaunchPlan): string[] {
  const qemu = config.qemu;
  if (qemu === undefined) {
    throw new BoardFileError(`board ${config.name} has no qemu section`, { where: config.file });
  }
  const options = Object.entries(qemu.options).map(([name, value]) => `${name}=${escape(value)}`);
  if (plan.sharedRam !== undefined) options.push(`memory-backend=${RAM}`);
  const args = ["-machine", [qemu.machine, ...options].join(",")];
  args.push("-cpu", qemu.cpu, "-smp", String(qemu.cores), "-m", `${qemu.memoryMiB}M`);
  if (plan.sharedRam !== undefined) {
    const file = `mem-path=${escape(plan.sharedRam)},share=on`;
    args.push("-object", `memory-backend-file,id=${RAM},size=${qemu.memoryMiB}M,${file}`);
  }
  args.push("-display", "none", "-monitor", "none", "-no-shutdown", "-S");
  args.push("-qmp", `unix:${escape(plan.qmpSocket)}`, ...serialArguments(config, plan));
  if (images.bios !== undefined) args.push("-bios", images.bios);
  if (images.flash !== undefined) {
    args.push("-drive", `if=pflash,unit=0,${drive(images.flash)}`);
  }
  args.push(...kernelArguments(config, images));
  if (images.initrd !== undefined) args.push("-initrd", images.initrd);
  if (images.dtb !== undefined) args.push("-dtb", images.dtb);
  if (images.rootfs !== undefined) args.push("-drive", `if=virtio,${drive(images.rootfs)}`);
  args.push(...portArguments(plan), ...networkArguments(config, qemu.extra, plan), ...qemu.extra);
  return args;
}

/** The port has a controller of its own, so that a guest finds it at the same place always. */
function portArguments({ guestPort }: LaunchPlan): string[] {
  if (guestPort === undefined) return [];
  const args = ["-device", `virtio-serial-pci,id=${PORT}-bus,max_ports=2`];
  args.push("-chardev", `socket,id=${PORT},path=${escape(guestPort.socket)}`);
  const name = `name=${escape(guestPort.name)}`;
  args.push("-device", `virtserialport,bus=${PORT}-bus.0,nr=1,chardev=${PORT},${name}`);
  return args;
}

/**
 * The kernel and its command line; behind a hypervisor they are a module that QEMU puts into RAM and
 * announces in the device tree.
 */
function kernelArguments(config: BoardConfig, images: ImageFiles): string[] {
  const { hypervisor, hypervisorAppend, kernel, append } = images;
  if (hypervisor === undefined) return started(kernel, append);
  const loader = config.qemu?.guestLoader;
  if (loader === undefined || kernel === undefined) {
    throw new BoardFileError(`board ${config.name} has no guest for its hypervisor`, {
      where: config.file,
      expected: "images.kernel and qemu.guest_loader",
    });
  }
  const at = `addr=0x${loader.address.toString(16)},kernel=${escape(kernel)}`;
  const bootargs = append === undefined ? "" : `,bootargs=${escape(append)}`;
  return [...started(hypervisor, hypervisorAppend), "-device", `guest-loader,${at}${bootargs}`];
}

const started = (file: string | undefined, words: string | undefined): string[] => [
  ...(file === undefined ? [] : ["-kernel", file]),
  ...(words === undefined ? [] : ["-append", words]),
];

function serialArguments(config: BoardConfig, plan: LaunchPlan): string[] {
  const byIndex = new Map(
    config.consoles.flatMap((console) =>
      "qemuSerial" in console.port ? [[console.port.qemuSerial, console.name] as const] : [],
    ),
  );
  const args: string[] = [];
  for (let index = 0; index <= Math.max(-1, ...byIndex.keys()); index += 1) {
    const name = byIndex.get(index);
    if (name === undefined) {
      args.push("-serial", "null");
      continue;
    }
    const log =
      plan.logs === undefined
        ? ""
        : `,logfile=${escape(path.join(plan.logs, `${name}.log`))},logappend=on`;
    args.push("-chardev", `pty,id=${chardevOf(index)}${log}`);
    args.push("-serial", `chardev:${chardevOf(index)}`);
  }
  return args;
}

function networkArguments(
  config: BoardConfig,
  extra: readonly string[],
  plan: LaunchPlan,
): string[] {
  if (plan.sshPort === undefined) return [];
  const user = `user,id=${NETDEV},hostfwd=tcp:127.0.0.1:${plan.sshPort}-:${config.ssh?.port ?? 22}`;
  const ownDevice = extra.some((argument) => argument.includes(`netdev=${NETDEV}`));
  return ownDevice ? ["-netdev", user] : ["-nic", user];
}

function drive(file: string): string {
  const format = file.endsWith(".qcow2") ? "qcow2" : "raw";
  return `format=${format},snapshot=on,file=${escape(file)}`;
}

/** A value inside a comma-separated option: QEMU reads `,,` as one comma. */
function escape(value: string): string {
  return value.replaceAll(",", ",,");
}
