import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "@jest/globals";
import ssh2 from "ssh2";
import { Deadline, InfrastructureError, Random } from "../../base/index.ts";
import { noSshdReason, type SshServer, startSshServer } from "../testing/ssh-server.ts";
import { SshCommands } from "./commands.ts";
import { SshConnection, type SshTarget } from "./connection.ts";
import { readClientKey } from "./credentials.ts";
import { SshFiles } from "./files.ts";
import { readHostKey } from "./host-key.ts";

const missing = noSshdReason();
const suite = missing === undefined ? describe : describe.skip;
const soon = (ms = 20_000): Deadline => Deadline.after(ms, "SSH");
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const TIMEOUT = 60_000;

suite(missing === undefined ? "over a real sshd" : `over a real sshd (skipped: ${missing})`, () => {
  let server: SshServer;
  const open: SshConnection[] = [];

  beforeAll(async () => {
    server = await startSshServer();
  }, TIMEOUT);

  afterEach(() => {
    for (const connection of open.splice(0)) connection.close();
  });

  afterAll(async () => {
    await server.dispose();
  });

  function connect(changes: Partial<SshTarget> & { client?: string; host?: string } = {}) {
    const connection = new SshConnection(async () => ({
      host: "127.0.0.1",
      port: server.port,
      user: server.user,
      privateKey: await readClientKey(path.join(server.dir, changes.client ?? "client"), "b.yaml"),
      hostKey: await readHostKey(server.hostKeyLine, "b.yaml"),
      where: "b.yaml",
      ...changes,
    }));
    open.push(connection);
    return { connection, commands: new SshCommands(connection) };
  }

  test("a command reads its standard input whole, byte for byte, and a command that does not read it ends well", async () => {
    const { commands } = connect();
    const input = Uint8Array.from({ length: 300_000 }, (_, index) => index & 0xff);
    const echo = await commands.exec("cat", soon(), { input });
    expect(Buffer.from(echo.stdout).equals(Buffer.from(input))).toBe(true);
    expect(await commands.exec("exit 3", soon(), { input })).toMatchObject({ exitCode: 3 });
    expect(text((await commands.exec("cat", soon())).stdout)).toBe("");
  });

  test("exit codes, signals, stdout and stderr come back apart and exact", async () => {
    const { commands } = connect();
    const result = await commands.exec("printf 'a\\000\\377\\r\\n'; echo err >&2; exit 42", soon());
    expect(Buffer.from(result.stdout)).toEqual(Buffer.from("a\u0000\u00ff\r\n", "latin1"));
    expect(text(result.stderr)).toBe("err\n");
    expect(result).toMatchObject({ exitCode: 42, signal: undefined });
    const killed = await commands.exec("kill -TERM $$", soon());
    expect(killed).toMatchObject({ exitCode: undefined, signal: "SIGTERM" });
  });

  test(
    "much output comes whole, standard input is closed",
    async () => {
      const { commands } = connect();
      const big = await commands.exec("head -c 3000000 /dev/zero; cat", soon());
      expect(big.stdout.length).toBe(3_000_000);
    },
    TIMEOUT,
  );

  test(
    "a started command's output comes while it runs; kill ends it and what it started",
    async () => {
      const { commands } = connect();
      const running = await commands.start("echo first; echo again >&2; sleep 1234; true", soon());
      const seen: string[] = [];
      await new Promise<void>((resolve) => {
        running.onOutput((bytes) => {
          seen.push(text(bytes));
          if (/first/.test(seen.join("")) && /again/.test(seen.join(""))) resolve();
        });
      });
      await running.kill();
      await expect(running.done).resolves.toMatchObject({ signal: "SIGTERM" });
      const left = await commands.exec("ps -e -o args= | grep -c '^[s]leep 1234'", soon());
      expect(text(left.stdout).trim()).toBe("0");
    },
    TIMEOUT,
  );

  test(
    "no command is too short: many at a time all tell their exit code",
    async () => {
      const { commands } = connect();
      await commands.exec("true", soon());
      for (let round = 0; round < 4; round += 1) {
        const codes = await Promise.all(
          Array.from({ length: 8 }, async (_, index) => {
            const { exitCode, stdout } = await commands.exec(
              `echo ${index}; exit ${index}`,
              soon(),
            );
            return `${text(stdout).trim()} ${exitCode}`;
          }),
        );
        expect(codes).toEqual(codes.map((__, index) => `${index} ${index}`));
      }
    },
    TIMEOUT,
  );

  test("a command that does not end by its deadline is a deadline error", async () => {
    const { commands } = connect();
    await expect(commands.exec("sleep 5", soon(300))).rejects.toMatchObject({
      name: "DeadlineError",
    });
  });

  test("a host key that is not the pinned one is refused, both fingerprints shown", async () => {
    const hostKey = await readHostKey(path.join(server.dir, "other.pub"), "b.yaml");
    const { commands } = connect({ hostKey });
    await expect(commands.exec("true", soon())).rejects.toMatchObject({
      name: "InfrastructureError",
      message: expect.stringContaining("host key is not the board's"),
      expected: expect.stringMatching(/^ssh-ed25519 SHA256:/),
      seen: expect.stringMatching(/^ssh-ed25519 SHA256:/),
    });
  });

  test("a host key of another kind than the pinned one is refused too", async () => {
    const blob = Buffer.concat([
      Buffer.from([0, 0, 0, 19]),
      Buffer.from("ecdsa-sha2-nistp256"),
      Buffer.alloc(40),
    ]);
    const { commands } = connect({ hostKey: { type: "ecdsa-sha2-nistp256", blob } });
    await expect(commands.exec("true", soon())).rejects.toMatchObject({
      name: "InfrastructureError",
      message: expect.stringContaining("host key of the pinned kind"),
    });
  });

  test("a board without a pinned host key is refused, with the line to pin", async () => {
    const { commands } = connect({ hostKey: undefined });
    const key = server.hostKeyLine.split(" ").slice(0, 2).join(" ");
    await expect(commands.exec("true", soon())).rejects.toMatchObject({
      name: "BoardFileError",
      next: expect.stringContaining(key),
    });
  });

  test("a client key that the board does not know is refused at once", async () => {
    const { commands } = connect({ client: "stranger" });
    await expect(commands.exec("true", soon())).rejects.toMatchObject({
      name: "InfrastructureError",
      message: `the board refused the SSH client key of ${server.user}`,
    });
  });

  test("something that is no private key is a board file error", async () => {
    const { commands } = connect({ client: "client.pub" });
    await expect(commands.exec("true", soon())).rejects.toMatchObject({ name: "BoardFileError" });
    await expect(readClientKey("/no/such/key", "b.yaml")).rejects.toMatchObject({
      name: "BoardFileError",
      where: "b.yaml",
    });
  });

  test(
    "a server lost in mid-command is an infrastructure error; the next command reconnects",
    async () => {
      const { commands } = connect();
      const running = await commands.start("echo up; sleep 1000", soon());
      await new Promise<void>((resolve) => {
        running.onOutput(() => {
          resolve();
        });
      });
      const lost = running.done.catch((error: unknown) => error);
      await server.kill();
      expect(await lost).toBeInstanceOf(InfrastructureError);
      // A board that comes back after a while: the attempts go on until it answers.
      const next = commands.exec("echo back", soon());
      await server.start();
      expect(text((await next).stdout)).toBe("back\n");
    },
    TIMEOUT,
  );

  test(
    "files go up and down whole; what fails leaves nothing behind",
    async () => {
      const { connection, commands } = connect();
      const files = new SshFiles(connection, commands);
      const dir = await mkdtemp(path.join(tmpdir(), "lockstep-files-"));
      try {
        const bytes = new Random(3).bytes(300_000);
        await writeFile(path.join(dir, "local"), bytes);
        await files.upload(path.join(dir, "local"), path.join(dir, "it's there"), soon());
        await files.download(path.join(dir, "it's there"), path.join(dir, "back"), soon());
        expect(await readFile(path.join(dir, "back"))).toEqual(Buffer.from(bytes));
        const before = (await readdir(dir)).toSorted();
        await expect(
          files.download(path.join(dir, "nothing"), path.join(dir, "x"), soon()),
        ).rejects.toMatchObject({ seen: expect.stringContaining("nothing") });
        await expect(
          files.upload(path.join(dir, "local"), path.join(dir, "no/such/folder"), soon()),
        ).rejects.toMatchObject({ name: "InfrastructureError" });
        await expect(
          files.upload(path.join(dir, "absent"), path.join(dir, "y"), soon()),
        ).rejects.toMatchObject({ name: "UsageError" });
        expect((await readdir(dir)).toSorted()).toEqual(before);
      } finally {
        await rm(dir, { recursive: true });
      }
    },
    TIMEOUT,
  );
});

test("a command whose whole life comes in one packet is not lost", async () => {
  const key = ssh2.utils.generateKeyPairSync("ed25519");
  const server = new ssh2.Server({ hostKeys: [key.private] }, (client) => {
    client.on("error", () => {});
    client.on("authentication", (context) => {
      context.accept();
    });
    client.on("session", (accept) => {
      accept().on("exec", (acceptExec) => {
        // In one go, as a busy server does for `true`.
        const channel = acceptExec();
        channel.write("out");
        channel.exit(7);
        channel.end();
      });
    });
  });
  const port = await new Promise<number>((resolve) => {
    server.listen(0, "127.0.0.1", function listening(this: { address(): { port: number } }) {
      resolve(this.address().port);
    });
  });
  const connection = new SshConnection(async () => ({
    host: "127.0.0.1",
    port,
    user: "root",
    privateKey: undefined,
    hostKey: await readHostKey(key.public, "b.yaml"),
    where: "b.yaml",
  }));
  try {
    const commands = new SshCommands(connection);
    for (let i = 0; i < 20; i += 1) {
      const { exitCode, stdout } = await commands.exec("true", soon());
      expect({ exitCode, out: text(stdout) }).toEqual({ exitCode: 7, out: "out" });
    }
  } finally {
    connection.close();
    server.close();
  }
});

test("a port where nobody answers ends in a deadline error that names it", async () => {
  const connection = new SshConnection(async () => ({
    host: "127.0.0.1",
    port: 1,
    user: "root",
    privateKey: undefined,
    hostKey: undefined,
    where: "b.yaml",
  }));
  await expect(connection.connect(soon(700))).rejects.toMatchObject({
    name: "DeadlineError",
    where: "127.0.0.1:1",
  });
});

test("a server that accepts and then says nothing ends in a deadline error", async () => {
  const silent = createServer();
  await new Promise<void>((resolve) => {
    silent.listen(0, "127.0.0.1", resolve);
  });
  try {
    const address = silent.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const connection = new SshConnection(async () => ({
      host: "127.0.0.1",
      port,
      user: "root",
      privateKey: undefined,
      hostKey: undefined,
      where: "b.yaml",
    }));
    await expect(connection.connect(soon(500))).rejects.toMatchObject({ name: "DeadlineError" });
  } finally {
    silent.close();
  }
});

test("a pinned key that is neither a key nor a file is a board file error", async () => {
  await expect(readHostKey("no key", "b.yaml")).rejects.toMatchObject({ name: "BoardFileError" });
  await expect(readHostKey("ssh-ed25519 AAAA", "b.yaml")).rejects.toMatchObject({
    name: "BoardFileError",
  });
});
