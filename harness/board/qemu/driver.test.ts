import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Duplex } from "node:stream";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { Deadline, packageRoot, UsageError } from "../../base/index.ts";
import { Console } from "../console/console.ts";
import type { BoardConfig } from "../file/model.ts";
import type { Incident } from "../live.ts";
import type { GuestPort } from "../options.ts";
import { flood, noQemuReason, psci } from "../testing/bare-metal.ts";
import { qemuConfig } from "../testing/board-config.ts";
import { Recorder } from "../testing/recorder.ts";
import { QemuDriver } from "./driver.ts";

const missing = noQemuReason();
const withQemu = missing === undefined ? test : test.skip;
const title = (text: string): string =>
  missing === undefined ? text : `${text} (skipped: ${missing})`;
const TIMEOUT = 60_000;

let dir = "";
const drivers: QemuDriver[] = [];
const runtime = process.env["XDG_RUNTIME_DIR"];

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), "lockstep-qemu-"));
  process.env["XDG_RUNTIME_DIR"] = dir;
});

afterEach(async () => {
  for (const driver of drivers.splice(0)) await driver.close();
  if (runtime === undefined) delete process.env["XDG_RUNTIME_DIR"];
  else process.env["XDG_RUNTIME_DIR"] = runtime;
  await rm(dir, { recursive: true });
});

const soon = (): Deadline => Deadline.after(40_000, "QEMU");

async function machine(
  firmware: Buffer,
  overrides: Partial<BoardConfig> = {},
  guestPort?: GuestPort,
) {
  await writeFile(path.join(dir, "fw.bin"), firmware);
  const observer = new Recorder();
  const incidents: Incident[] = [];
  const consoles = new Map(
    ["normal", "secure"].map((name) => [name, new Console(name, observer)] as const),
  );
  const told: ((incident: Incident) => void)[] = [];
  const driver = new QemuDriver({
    config: qemuConfig(overrides),
    images: { bios: path.join(dir, "fw.bin") },
    consoles,
    onIncident: (incident) => {
      incidents.push(incident);
      for (const tell of told.splice(0)) tell(incident);
    },
    logs: dir,
    ...(guestPort !== undefined && { guestPort }),
  });
  drivers.push(driver);
  const nextIncident = async (): Promise<Incident> =>
    await new Promise((resolve) => {
      told.push(resolve);
    });
  return { driver, observer, consoles, incidents, nextIncident };
}

/** Waits until `console` has carried `bytes` bytes. */
async function carried(console: Console | undefined, bytes: number): Promise<void> {
  await soon().race(
    new Promise<void>((resolve) => {
      console?.listen({
        partial: () => {
          if (console.offset >= bytes) resolve();
        },
      });
    }),
  );
}

withQemu(
  title(
    "every byte from power-on to power-off is there, as QEMU's own log has it, cycle after cycle",
  ),
  async () => {
    const { driver, observer, consoles, incidents } = await machine(flood(1));
    for (const cycles of [1, 2]) {
      const full = carried(consoles.get("normal"), cycles * 65_536);
      await driver.on(soon());
      await full;
      await driver.off();
    }
    const log = await readFile(path.join(dir, "normal.log"));
    expect(log.length).toBe(2 * 65_536);
    expect(observer.bytes("normal").equals(log)).toBe(true);
    expect(observer.bytes("secure").length).toBe(0);
    expect(incidents).toEqual([]);
  },
  TIMEOUT,
);

withQemu(
  title("power cut in the middle of a flood loses nothing that QEMU had written"),
  async () => {
    const { driver, observer, consoles } = await machine(flood(200));
    const some = carried(consoles.get("normal"), 20_000);
    await driver.on(soon());
    await some;
    await driver.off();
    const log = await readFile(path.join(dir, "normal.log"));
    expect(observer.bytes("normal").equals(log)).toBe(true);
    await expect(driver.state()).resolves.toBe("off");
  },
  TIMEOUT,
);

withQemu(
  title("a machine that switches itself off or resets itself is an incident, its last output read"),
  async () => {
    const { qemu } = qemuConfig();
    if (qemu === undefined) throw new Error("no qemu section");
    const insecure = { qemu: { ...qemu, options: {} } };
    const off = await machine(psci("off"), insecure);
    const switchedOff = off.nextIncident();
    await off.driver.on(soon());
    await expect(switchedOff).resolves.toMatchObject({
      kind: "crash",
      what: "the machine switched itself off",
    });
    await expect(off.driver.state()).resolves.toBe("off");
    await off.driver.off();
    expect(off.observer.bytes("normal").toString()).toBe("!");

    const reset = await machine(psci("reset"), insecure);
    const wasReset = reset.nextIncident();
    await reset.driver.on(soon());
    await expect(wasReset).resolves.toMatchObject({ what: "the machine reset itself" });
  },
  TIMEOUT,
);

withQemu(
  title("a QEMU that somebody kills is an incident, and the board can be switched on again"),
  async () => {
    const { driver, nextIncident, consoles } = await machine(flood(1));
    await driver.on(soon());
    const lost = nextIncident();
    const pid = await qemuOf(dir);
    process.kill(pid, "SIGKILL");
    await expect(lost).resolves.toMatchObject({
      kind: "lost",
      what: "QEMU ended",
      gone: true,
      line: expect.stringContaining("SIGKILL"),
    });
    const more = carried(consoles.get("normal"), (consoles.get("normal")?.offset ?? 0) + 65_536);
    await driver.on(soon());
    await more;
  },
  TIMEOUT,
);

withQemu(
  title("QEMU ends when its owner is killed outright, and leaves nothing behind"),
  async () => {
    await writeFile(path.join(dir, "fw.bin"), flood(1));
    const script = path.join(packageRoot, "dist/harness/board/testing/qemu-owner.js");
    const owner = spawn(process.execPath, [script, path.join(dir, "fw.bin")], {
      env: { ...process.env, XDG_RUNTIME_DIR: dir },
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(owner.stdout, "data");
    const pid = await qemuOf(dir);
    expect(isRunning(pid)).toBe(true);
    owner.kill("SIGKILL");
    await once(owner, "exit");
    const limit = soon();
    while (isRunning(pid) && !limit.expired) await new Promise((r) => setTimeout(r, 20));
    expect(isRunning(pid)).toBe(false);
    while ((await readdir(path.join(dir, "lockstep"))).length > 0 && !limit.expired)
      await new Promise((r) => setTimeout(r, 20));
    expect(await readdir(path.join(dir, "lockstep"))).toEqual([]);
  },
  TIMEOUT,
);

withQemu(
  title("a port of the guest is served from power-on to power-off; its end is the host's fault"),
  async () => {
    const { qemu } = qemuConfig();
    if (qemu === undefined) throw new Error("no qemu section");
    const streams: Duplex[] = [];
    const told: string[] = [];
    const port: GuestPort = {
      name: "test.port",
      powerOn: (stream) => {
        streams.push(stream);
        told.push("on");
        return () => told.push("off");
      },
    };
    const insecure = { qemu: { ...qemu, options: {} } };
    const { driver, nextIncident, incidents } = await machine(flood(1), insecure, port);
    await driver.on(soon());
    await driver.cycle(soon());
    expect(told).toEqual(["on", "off", "on"]);
    expect(incidents).toEqual([]);
    const lost = nextIncident();
    streams.at(-1)?.destroy();
    await expect(lost).resolves.toMatchObject({
      kind: "lost",
      infrastructure: true,
      what: "port test.port of the guest is served no more",
    });
    await driver.off();
    expect(told).toEqual(["on", "off", "on", "off"]);
  },
  TIMEOUT,
);

withQemu(
  title("a port that cannot be served keeps the machine off, and says why"),
  async () => {
    const port: GuestPort = {
      name: "test.port",
      powerOn: () => {
        throw new UsageError("the state file is of another part");
      },
    };
    const { driver } = await machine(flood(1), {}, port);
    await expect(driver.on(soon())).rejects.toThrow(UsageError);
    await expect(driver.state()).resolves.toBe("off");
  },
  TIMEOUT,
);

test("a missing QEMU is an infrastructure error that says what to install", async () => {
  const { qemu } = qemuConfig();
  if (qemu === undefined) throw new Error("no qemu section");
  const absent = { qemu: { ...qemu, binary: "qemu-system-nowhere" } };
  const { driver } = await machine(flood(1), absent);
  await expect(driver.on(soon())).rejects.toMatchObject({
    name: "InfrastructureError",
    message: expect.stringContaining("no usable qemu-system-nowhere"),
    next: expect.stringContaining("apt-get install qemu-system-arm"),
  });
});

test("missing image files are all named, with what makes them", async () => {
  const driver = new QemuDriver({
    config: qemuConfig({ image: "qemu-virt" }),
    images: { bios: "/no/such/fw.bios", kernel: "/no/such/Image" },
    consoles: new Map(),
    onIncident: () => {},
  });
  await expect(driver.on(soon())).rejects.toMatchObject({
    name: "BoardFileError",
    seen: "cannot read bios /no/such/fw.bios, kernel /no/such/Image",
    next: expect.stringContaining("lockstep prepare bench-board"),
  });
});

withQemu(title("a QEMU that refuses its command line is quoted"), async () => {
  const { qemu } = qemuConfig();
  if (qemu === undefined) throw new Error("no qemu section");
  const { driver } = await machine(flood(1), { qemu: { ...qemu, cpu: "no-such-core" } });
  await expect(driver.on(soon())).rejects.toMatchObject({
    name: "InfrastructureError",
    message: "QEMU ended while it was starting",
    seen: expect.stringContaining("no-such-core"),
  });
  await expect(driver.state()).resolves.toBe("off");
});

withQemu(title("a port that the board file names and somebody else uses is named"), async () => {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  try {
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const { qemu } = qemuConfig();
    if (qemu === undefined) throw new Error("no qemu section");
    const extra = ["-nic", `user,hostfwd=tcp:127.0.0.1:${port}-:22`];
    const { driver } = await machine(flood(1), { qemu: { ...qemu, extra } });
    await expect(driver.on(soon())).rejects.toMatchObject({
      name: "InfrastructureError",
      message: "QEMU cannot use a network port of this machine",
      seen: expect.stringContaining(String(port)),
    });
  } finally {
    server.close();
  }
});

/** The process id of the one QEMU whose control socket lies under `runtimeDir`. */
async function qemuOf(runtimeDir: string): Promise<number> {
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const cmdline = await readFile(`/proc/${entry}/cmdline`, "utf8").catch(() => "");
    if (cmdline.startsWith("qemu-system-aarch64\0") && cmdline.includes(`unix:${runtimeDir}/`))
      return Number(entry);
  }
  throw new Error("no such QEMU");
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
