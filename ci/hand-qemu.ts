import { execa } from "execa";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import type { PreparedImage } from "../harness/images/index.ts";

/** Runs a command in the machine and gives its stdout; throws when it fails. */
export type Ssh = (command: string) => Promise<string>;

/** Boots a reference image with QEMU and ssh and nothing of the harness, for as long as `use` runs. */
export async function withHandQemu<T>(
  image: PreparedImage,
  use: (ssh: Ssh) => Promise<T>,
): Promise<T> {
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
    return await use(ssh);
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
