import { Deadline } from "../../base/index.ts";
import { Console } from "../console/console.ts";
import { QemuDriver } from "../qemu/driver.ts";
import { qemuConfig } from "./board-config.ts";
import { Recorder } from "./recorder.ts";

// A process that owns a QEMU and is killed by a test: argument 1 is the firmware to run.
const observer = new Recorder();
const consoles = new Map(
  ["normal", "secure"].map((name) => [name, new Console(name, observer)] as const),
);
const driver = new QemuDriver({
  config: qemuConfig(),
  images: { bios: process.argv[2] ?? "" },
  consoles,
  onIncident: () => {},
});
await driver.on(Deadline.after(30_000, "starting QEMU"));
process.stdout.write("on\n");
setInterval(() => {}, 1000);
