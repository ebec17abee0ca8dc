import { execa } from "execa";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { silentProgress } from "../harness/base/index.ts";
import { prepareImage, type PreparedImage } from "../harness/images/index.ts";
import { BundleReader, readTimeline } from "../harness/run/index.ts";
import { cli } from "./cli.ts";

const BOARD = "qemu-virt";
const CASES = 139;

export interface XtestTimes {
  /** Seconds from starting xtest to its end. */
  readonly byHand: number;
  readonly harness: number;
  readonly ratio: number;
}

/** Times the whole of xtest by hand (QEMU, ssh, nothing else) and through `lockstep run`. */
export async function benchFullXtest(): Promise<XtestTimes> {
  const abort = new AbortController().signal;
  const image = await prepareImage(BOARD, {
    env: process.env,
    progress: silentProgress,
    abort,
  });
  const byHand = await handSeconds(image);
  const harness = await harnessSeconds(abort);
  return { byHand, harness, ratio: harness / byHand };
}

async function handSeconds(image: PreparedImage): Promise<number> {
  const scratch = await mkdtemp(path.join(tmpdir(), "lockstep-hand-"));
  const port = await freePort();
  const known = path.join(scratch, "known_hosts");
  await writeFile(known, `[127.0.0.1]:${port} ${image.ssh.hostKeyLine}\n`);
  const qemu = startQemu(image, port);
  try {
    const ssh = async (command: string): Promise<string> => {
      const args = ["-i", image.ssh.clientKeyFile, "-p", String(port), "-o", "BatchMode=yes"];
      const pin = ["-o", `UserKnownHostsFile=${known}`, "-o", "ConnectTimeout=5"];
      const { stdout } = await execa("ssh", [
        ...args,
        ...pin,
        `${image.ssh.user}@127.0.0.1`,
        command,
      ]);
      return stdout;
    };
    await untilUp(ssh);
    const started = performance.now();
    const output = await ssh("xtest");
    const seconds = (performance.now() - started) / 1000;
    if (!output.includes(`${CASES} test cases of which 0 failed`)) {
      throw new Error(`xtest by hand ended with: ${output.slice(-400)}`);
    }
    return seconds;
  } finally {
    qemu.kill("SIGKILL");
    await qemu;
    await rm(scratch, { recursive: true, force: true });
  }
}

function startQemu(image: PreparedImage, port: number) {
  const { bios, kernel, initrd } = image.files;
  return execa(
    "qemu-system-aarch64",
    [
      ["-machine", "virt,secure=on,gic-version=3,acpi=off", "-cpu", "cortex-a53"],
      ["-smp", "2", "-m", "1024", "-display", "none", "-monitor", "none"],
      ["-bios", bios, "-kernel", kernel, "-initrd", initrd, "-append", image.append],
      ["-serial", "null", "-serial", "null"],
      ["-netdev", `user,id=net0,hostfwd=tcp:127.0.0.1:${port}-:22`],
      ["-device", "virtio-net-pci,netdev=net0,romfile="],
    ].flat(),
    { reject: false, stdin: "ignore" },
  );
}

async function untilUp(ssh: (command: string) => Promise<string>): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      await ssh("test -c /dev/tee0");
      return;
    } catch (error) {
      if (attempt >= 60) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

async function harnessSeconds(abort: AbortSignal): Promise<number> {
  const scratch = await mkdtemp(path.join(tmpdir(), "lockstep-bench-"));
  try {
    const out = path.join(scratch, "bundle");
    const args = ["run", "--board", BOARD, "--suite", "xtest", "--json", "--out", out];
    const run = await cli(args, abort);
    if (run.exitCode !== 0) throw new Error(`lockstep ${args.join(" ")} exited ${run.exitCode}`);
    const timeline = await readTimeline(await BundleReader.open(out));
    const times = run.document.cases.flatMap(({ target, id }) => {
      const time = target === BOARD ? timeline.case(target, id) : undefined;
      return time?.end === undefined ? [] : [{ start: time.start, end: time.end }];
    });
    const first = Math.min(...times.map(({ start }) => start));
    return (Math.max(...times.map(({ end }) => end)) - first) / 1000;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  return await new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}
