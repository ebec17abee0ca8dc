import { expect, test } from "@jest/globals";
import { qemuConfig } from "../testing/board-config.ts";
import { qemuArguments } from "./arguments.ts";

const PLAN = { qmpSocket: "/run/q/qmp" };

/** The values of every `flag` in `args`. */
function values(args: readonly string[], flag: string): (string | undefined)[] {
  return args.flatMap((arg, index) => (arg === flag ? [args[index + 1]] : []));
}

test("the machine starts paused with the settings of the board file", () => {
  const args = qemuArguments(qemuConfig(), { bios: "/i/fw.bios" }, PLAN);
  expect(args).toContain("-S");
  expect(values(args, "-machine")).toEqual(["virt,secure=on,gic-version=3"]);
  expect(values(args, "-cpu")).toEqual(["cortex-a53"]);
  expect(values(args, "-smp")).toEqual(["1"]);
  expect(values(args, "-m")).toEqual(["64M"]);
  expect(values(args, "-bios")).toEqual(["/i/fw.bios"]);
  expect(values(args, "-qmp")).toEqual(["unix:/run/q/qmp"]);
});

test("RAM is a shared file where one is named", () => {
  const args = qemuArguments(qemuConfig(), {}, { ...PLAN, sharedRam: "/dev/shm/a,b" });
  expect(values(args, "-machine")).toEqual([
    "virt,secure=on,gic-version=3,memory-backend=lockstep-ram",
  ]);
  expect(values(args, "-object")).toEqual([
    "memory-backend-file,id=lockstep-ram,size=64M,mem-path=/dev/shm/a,,b,share=on",
  ]);
});

test("a port of the guest is a socket of ours, on a controller of its own", () => {
  const guestPort = { name: "lockstep.rpmb", socket: "/run/a,b/port" };
  const args = qemuArguments(qemuConfig(), {}, { ...PLAN, guestPort });
  expect(values(args, "-chardev")).toContain("socket,id=lockstep-port,path=/run/a,,b/port");
  expect(values(args, "-device")).toEqual([
    "virtio-serial-pci,id=lockstep-port-bus,max_ports=2",
    "virtserialport,bus=lockstep-port-bus.0,nr=1,chardev=lockstep-port,name=lockstep.rpmb",
  ]);
});

test("each console is a pty at its serial port, and ports between are empty", () => {
  const config = qemuConfig({
    consoles: [{ name: "secure", primary: true, port: { qemuSerial: 1 } }],
  });
  const args = qemuArguments(config, {}, { ...PLAN, logs: "/l" });
  expect(values(args, "-serial")).toEqual(["null", "chardev:serial1"]);
  expect(values(args, "-chardev")).toEqual(["pty,id=serial1,logfile=/l/secure.log,logappend=on"]);
});

test("images are opened so that the guest cannot change them, commas in names survive", () => {
  const args = qemuArguments(
    qemuConfig(),
    {
      flash: "/i/a,b.bin",
      kernel: "/i/Image",
      initrd: "/i/rd",
      dtb: "/i/x.dtb",
      rootfs: "/i/root.qcow2",
      append: "console=ttyAMA0 quiet",
    },
    PLAN,
  );
  expect(values(args, "-drive")).toEqual([
    "if=pflash,unit=0,format=raw,snapshot=on,file=/i/a,,b.bin",
    "if=virtio,format=qcow2,snapshot=on,file=/i/root.qcow2",
  ]);
  expect(values(args, "-kernel")).toEqual(["/i/Image"]);
  expect(values(args, "-initrd")).toEqual(["/i/rd"]);
  expect(values(args, "-dtb")).toEqual(["/i/x.dtb"]);
  expect(values(args, "-append")).toEqual(["console=ttyAMA0 quiet"]);
});

test("behind a hypervisor the kernel is a module that QEMU loads and announces", () => {
  const { qemu } = qemuConfig();
  if (qemu === undefined) throw new Error("no qemu section");
  const images = {
    hypervisor: "/i/xen",
    hypervisorAppend: "console=dtuart",
    kernel: "/i/a,b/Image",
    append: "console=hvc0 x=1,2",
    initrd: "/i/rd",
  };
  const config = qemuConfig({ qemu: { ...qemu, guestLoader: { address: 0x5000_0000 } } });
  const args = qemuArguments(config, images, PLAN);
  expect(values(args, "-kernel")).toEqual(["/i/xen"]);
  expect(values(args, "-append")).toEqual(["console=dtuart"]);
  expect(values(args, "-initrd")).toEqual(["/i/rd"]);
  expect(values(args, "-device")).toEqual([
    "guest-loader,addr=0x50000000,kernel=/i/a,,b/Image,bootargs=console=hvc0 x=1,,2",
  ]);
  expect(() => qemuArguments(qemuConfig(), images, PLAN)).toThrow(/no guest for its hypervisor/);
});

test("a local port leads to the guest's SSH, on the machine's own network card or a named one", () => {
  const ssh = { host: "forward", port: 2222, user: "root" };
  const plan = { ...PLAN, sshPort: 40_022 };
  expect(values(qemuArguments(qemuConfig({ ssh }), {}, plan), "-nic")).toEqual([
    "user,id=lockstep,hostfwd=tcp:127.0.0.1:40022-:2222",
  ]);
  const { qemu } = qemuConfig();
  if (qemu === undefined) throw new Error("no qemu section");
  const extra = ["-device", "virtio-net-device,netdev=lockstep"];
  const own = qemuArguments(qemuConfig({ ssh, qemu: { ...qemu, extra } }), {}, plan);
  expect(values(own, "-netdev")).toEqual(["user,id=lockstep,hostfwd=tcp:127.0.0.1:40022-:2222"]);
  expect(own.slice(-2)).toEqual(extra);
});
