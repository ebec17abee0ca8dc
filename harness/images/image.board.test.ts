import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import ssh2 from "ssh2";
import { sha256File } from "./hash.ts";
import { type ImageManifest, MANIFEST_FILE, type PreparedImage } from "./model.ts";
import { asPrepared } from "./store.ts";

const dir = process.env["LOCKSTEP_TEST_IMAGE"] ?? "";
const withImage = dir === "" ? test.skip : test;
const why = dir === "" ? " (skipped: LOCKSTEP_TEST_IMAGE names no prepared image)" : "";

let scratch = "";
let image: PreparedImage;
let qemu: ChildProcess | undefined;
let port = 0;

beforeAll(async () => {
  if (dir === "") return;
  const text = await readFile(path.join(dir, MANIFEST_FILE), "utf8");
  image = asPrepared(dir, JSON.parse(text) as ImageManifest);
  scratch = await mkdtemp(path.join(tmpdir(), "lockstep-image-"));
  port = await freePort();
  qemu = startQemu();
  await shown("normal", "lockstep: ready");
}, 240_000);

afterAll(async () => {
  if (dir === "") return;
  const ended = new Promise((resolve) => qemu?.once("close", resolve));
  qemu?.kill("SIGKILL");
  await ended;
  await rm(scratch, { recursive: true });
});

withImage(`the manifest describes the files that are there${why}`, async () => {
  const { files, packages, sources } = image.manifest;
  expect(Object.keys(files)).toHaveLength(4);
  for (const [name, { size, sha256 }] of Object.entries(files)) {
    const file = path.join(dir, name);
    expect({ name, size: (await stat(file)).size }).toEqual({ name, size });
    expect({ name, sha256: await sha256File(file) }).toEqual({ name, sha256 });
  }
  for (const entry of [...packages, ...sources]) {
    expect(entry).toMatchObject({ version: expect.stringMatching(/\d/) as unknown });
  }
  for (const entry of packages) expect(entry.sha256).toMatch(/^[0-9a-f]{64}$/);
  expect(packages.map(({ name }) => name)).toEqual(
    expect.arrayContaining(["optee-os", "optee-test-qemu", "tee-supplicant", "u-boot-qemu"]),
  );
  expect((await stat(image.ssh.clientKeyFile)).mode & 0o777).toBe(0o600);
});

withImage(`the manifest holds no path, host or user of the machine that made it${why}`, () => {
  const text = JSON.stringify(image.manifest);
  expect(text).not.toMatch(/\/home\/|\/root\/|\/tmp\/|https?:|\.cache/);
});

withImage(`both worlds speak on their own serial ports${why}`, async () => {
  expect(await shown("normal", "BL31: v")).toContain("U-Boot 20");
  expect(await shown("secure", "OP-TEE version")).toContain("Primary CPU");
});

withImage(
  `it boots to a TEE whose host key is the manifest's and whose xtest runs${why}`,
  async () => {
    const seen: string[] = [];
    const result = await execute("ls /dev/tee0 /dev/teepriv0 && xtest pkcs11_1001", (key) => {
      seen.push(`ssh-ed25519 ${key.toString("base64")}`);
    });
    expect(seen).toEqual([image.ssh.hostKeyLine]);
    expect(result).toContain("/dev/teepriv0");
    expect(result).toMatch(/\b1 test case of which 0 failed/);
  },
  120_000,
);

withImage(
  `no password opens it, not even an empty one${why}`,
  async () => {
    for (const password of ["", "root", "lockstep"]) {
      await expect(connect({ username: "root", password })).rejects.toThrow(/authentication/i);
    }
  },
  60_000,
);

function startQemu(): ChildProcess {
  const { bios, kernel, initrd } = image.files;
  const words = [
    "-machine virt,secure=on,gic-version=3,acpi=off -cpu cortex-a53 -smp 2 -m 1024",
    "-display none -monitor none -device virtio-net-pci,netdev=net0,romfile=",
    `-netdev user,id=net0,hostfwd=tcp:127.0.0.1:${port}-:22`,
  ].flatMap((line) => line.split(" "));
  const files = ["-bios", bios, "-kernel", kernel, "-initrd", initrd, "-append", image.append];
  const serials = ["normal", "secure"].flatMap((name) => [
    "-serial",
    `file:${path.join(scratch, name)}`,
  ]);
  return spawn("qemu-system-aarch64", [...words, ...files, ...serials], { stdio: "ignore" });
}

/** The console's text once `wanted` is in it; ends with an error when QEMU has ended. */
async function shown(stream: string, wanted: string): Promise<string> {
  for (;;) {
    const text = await readFile(path.join(scratch, stream), "latin1").catch(() => "");
    if (text.includes(wanted)) return text;
    if (qemu?.exitCode !== null) throw new Error(`QEMU has ended; ${stream}: ${text.slice(-500)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

async function connect(login: ssh2.ConnectConfig): Promise<ssh2.Client> {
  const client = new ssh2.Client();
  return await new Promise((resolve, reject) => {
    client.on("ready", () => {
      resolve(client);
    });
    client.on("error", reject);
    client.connect({ host: "127.0.0.1", port, readyTimeout: 30_000, ...login });
  });
}

async function execute(command: string, onHostKey: (key: Buffer) => void): Promise<string> {
  const client = await connect({
    username: image.ssh.user,
    privateKey: await readFile(image.ssh.clientKeyFile),
    hostVerifier: (key: Buffer) => {
      onHostKey(key);
      return true;
    },
  });
  try {
    return await new Promise<string>((resolve, reject) => {
      client.exec(command, (error, channel) => {
        if (error !== undefined) {
          reject(error);
          return;
        }
        let text = "";
        channel.on("data", (chunk: Buffer) => (text += chunk.toString()));
        channel.on("close", () => {
          resolve(text);
        });
      });
    });
  } finally {
    client.end();
  }
}
