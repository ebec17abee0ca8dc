import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import path from "node:path";
import { packageRoot } from "../../base/index.ts";
import { FRAME, FRAME_SIZE, numberOf } from "../../rpmb/index.ts";

/** Why our helper cannot be run with a part of ours in the kernel's place, or undefined where it can. */
export function noTracer(): string | undefined {
  if (process.arch !== "x64" || process.platform !== "linux") return "needs Linux on x86-64";
  return spawnSync("gcc", ["--version"]).status === 0 ? undefined : "gcc is not installed";
}

/** One MMC_IOC_MULTI_CMD as the kernel would have got it. */
export interface SeenTransfer {
  readonly type: number;
  /** Of both commands: write flag, opcode, flags, block size, blocks. */
  readonly commands: readonly (readonly number[])[];
}

export interface TracedPart {
  /** An environment whose cross compiler makes a program for this host, traced. */
  readonly env: Readonly<Record<string, string>>;
  /** The program as it is, after it was compiled for the first time. */
  readonly native: string;
  readonly seen: SeenTransfer[];
  stop(): Promise<void>;
  /** How often our helper was started on the board, and where it is still. */
  helpers(): { readonly ran: number; readonly left: readonly string[] };
}

/** What stands behind the device: frames there, frames back, or a negative errno. */
export type TracedDevice = (request: Uint8Array, count: number) => Uint8Array | number;

const COMMAND = 72;
const HEAD = 8 + 2 * COMMAND;

/**
 * Lets our helper, on this host, talk to `device` as if that were the kernel's eMMC, its attributes in the
 * folder `sysfs`, where one is given.
 */
export async function startTracedPart(
  dir: string,
  device: TracedDevice,
  sysfs = "",
): Promise<TracedPart> {
  const bin = path.join(dir, "fake-bin");
  mkdirSync(bin);
  const tracer = path.join(dir, "mmc-tracer");
  const socket = path.join(dir, "part.sock");
  const native = path.join(dir, "lockstep-rpmb.native");
  const places = path.join(dir, "helper-places");
  const source = path.join(packageRoot, "harness", "cli", "testing", "mmc-tracer.c");
  const made = spawnSync("gcc", ["-O1", "-o", tracer, source], { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`gcc: ${made.stderr}`);
  const compiler = path.join(bin, "aarch64-linux-gnu-gcc");
  writeFileSync(
    compiler,
    `#!/bin/sh
set -e
gcc "$@"
while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done
mv "$out" ${native}
printf '#!/bin/sh\\necho "$0" >>${places}\\n[ $# = 1 ] && set -- "$1" ${sysfs}\\nexec ${tracer} ${socket} ${native} "$@"\\n' >"$out"
chmod 755 "$out"
`,
  );
  chmodSync(compiler, 0o755);
  const seen: SeenTransfer[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((link) => {
    sockets.add(link);
    link.on("error", () => {});
    let bytes = Buffer.alloc(0);
    link.on("data", (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      while (bytes.length >= HEAD + FRAME_SIZE) {
        const request = new Uint8Array(bytes.subarray(HEAD, HEAD + FRAME_SIZE));
        const commands = [commandAt(bytes, 8), commandAt(bytes, 8 + COMMAND)];
        seen.push({ type: numberOf(request, FRAME.type), commands });
        bytes = bytes.subarray(HEAD + FRAME_SIZE);
        const answer = device(request, commands[1]?.[4] ?? 0);
        const status = Buffer.alloc(8);
        status.writeBigInt64LE(BigInt(typeof answer === "number" ? answer : 0));
        link.write(status);
        if (typeof answer !== "number") link.write(answer);
      }
    });
  });
  server.listen(socket);
  await once(server, "listening");
  return {
    env: { PATH: `${bin}:${process.env["PATH"] ?? ""}` },
    native,
    seen,
    helpers: () => {
      const ran = readFileSync(places, "latin1").trim().split("\n");
      return { ran: ran.length, left: ran.filter((each) => existsSync(path.dirname(each))) };
    },
    stop: async () => {
      for (const link of sockets) link.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function commandAt(bytes: Buffer, at: number): number[] {
  return [0, 8, 32, 36, 40].map((offset) => bytes.readUInt32LE(at + offset));
}
