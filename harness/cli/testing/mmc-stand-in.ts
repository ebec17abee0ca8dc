import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import path from "node:path";
import { encodeFrames, FRAME, numberOf, RPMB_REQUEST, type RpmbDevice } from "../../rpmb/index.ts";

export interface MmcStandIn {
  /** A folder for the board's PATH. */
  readonly bin: string;
  /** How the program was started, the words behind its name. */
  readonly calls: { readonly words: readonly string[]; readonly environment: string }[];
  stop(): Promise<void>;
}

/** The program on the board: mmc-utils' interface (RPMB-8.WRITE_KEY), the part behind a socket. */
const PROGRAM = `
import { connect } from "node:net";
const [, , ...words] = process.argv;
const [group, verb, device, file] = words;
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const key = Buffer.concat(chunks);
if (group !== "rpmb" || verb !== "write-key" || words.length !== 4 || file !== "-") {
  process.stderr.write("Usage: mmc rpmb write-key </path/to/mmcblkXrpmb> </path/to/key>\\n");
  process.exit(1);
}
if (key.length < 32) {
  process.stderr.write("Data must be 32 bytes length, but we read only " + key.length + "\\n");
  process.exit(1);
}
const link = connect(process.env.MMC_SOCKET);
link.write(JSON.stringify({ words, environment: Object.values(process.env).join("\\n") }) + "\\n");
link.write(key.subarray(0, 32));
const answer = [];
for await (const chunk of link) answer.push(chunk);
const result = Number(Buffer.concat(answer).toString());
if (result !== 0) {
  process.stderr.write("RPMB operation failed, retcode 0x" + result.toString(16).padStart(4, "0") + "\\n");
  process.exit(1);
}
`;

/** Puts a program \`mmc\` with the interface of mmc-utils 1.0 before a part of ours. */
export async function startMmcStandIn(dir: string, device: RpmbDevice): Promise<MmcStandIn> {
  const bin = path.join(dir, "board-bin");
  mkdirSync(bin);
  const socket = path.join(dir, "mmc.sock");
  writeFileSync(path.join(bin, "mmc.mjs"), PROGRAM);
  const start = `#!/bin/sh\nMMC_SOCKET=${socket} exec ${process.execPath} ${bin}/mmc.mjs "$@"\n`;
  writeFileSync(path.join(bin, "mmc"), start);
  chmodSync(path.join(bin, "mmc"), 0o755);
  const calls: MmcStandIn["calls"] = [];
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (link) => {
    sockets.add(link);
    link.on("error", () => {});
    let bytes = Buffer.alloc(0);
    link.on("data", (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      const end = bytes.indexOf(0x0a);
      if (end < 0 || bytes.length < end + 33) return;
      calls.push(JSON.parse(bytes.subarray(0, end).toString()) as MmcStandIn["calls"][number]);
      const keyMac = bytes.subarray(end + 1, end + 33);
      const request = encodeFrames({ type: RPMB_REQUEST.PROGRAM_KEY, keyMac });
      link.end(String(numberOf(device.frames(request, 1), FRAME.result)));
    });
  });
  server.listen(socket);
  await once(server, "listening");
  return {
    bin,
    calls,
    stop: async () => {
      for (const link of sockets) link.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
