import { expect, test } from "@jest/globals";
import { Deadline, describeError } from "../base/index.ts";
import type { CommandProtocol, ExecOptions } from "../board/index.ts";
import { channelTo, EmmcRpmb, keyDigits, type RpmbChannel, verifyKey } from "../rpmb/index.ts";
import { opteeLine, summarizeLines } from "./optee-lines.ts";
import { CID, someKey } from "./testing/situations.ts";
import { hasProgram, programKey, writeKeyByMmcUtils } from "./write-key.ts";

const KEY = someKey();
const soon = (): Deadline => Deadline.after(10_000, "the test");

interface Call {
  readonly command: string;
  /** The bytes themselves, so that it shows whether they were overwritten. */
  readonly input: Uint8Array | undefined;
  readonly given: string;
}

/** A board whose shell answers what it is told. */
function shell(answer: { code: number | undefined; signal?: string; out?: string; err?: string }): {
  commands: CommandProtocol;
  calls: Call[];
} {
  const calls: Call[] = [];
  return {
    calls,
    commands: {
      exec: async (command: string, _deadline: Deadline, options: ExecOptions = {}) => {
        const { input } = options;
        calls.push({ command, input, given: Buffer.from(input ?? []).toString("hex") });
        return {
          exitCode: answer.code,
          signal: answer.signal,
          stdout: Buffer.from(answer.out ?? ""),
          stderr: Buffer.from(answer.err ?? ""),
        };
      },
      start: async () => await Promise.reject(new Error("nothing is started")),
    },
  };
}

const refusal = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => "not refused",
    (error: unknown) => describeError(error),
  );

test("a part in this process takes the key in one frame, which is overwritten", async () => {
  const device = new EmmcRpmb({ cid: Buffer.from(CID, "hex"), sizeMultiplier: 1 });
  const sent: Uint8Array[] = [];
  const channel: RpmbChannel = {
    frames: async (request, count) => {
      sent.push(request);
      return await channelTo(device).frames(request, count);
    },
  };
  await programKey(channel, KEY);
  const named = [{ name: "k", key: KEY, how: "" }];
  expect((await verifyKey(channelTo(device), named)).verdict).toBe("proven");
  expect(sent.map((request) => request.every((byte) => byte === 0))).toEqual([true]);
  expect(await refusal(programKey(channel, KEY))).toMatch(/0x0001 \(general failure\)/);
});

test.each([
  ["too short", new Uint8Array(511)],
  ["of another type", new Uint8Array(512)],
  ["none", new Uint8Array()],
])("an answer that is %s is no success", async (_what, answer) => {
  const channel = { frames: async () => answer };
  expect(await refusal(programKey(channel, KEY))).toMatch(/the part did not take the key/);
});

test("RPMB-8.WRITE_KEY: mmc-utils gets 32 raw bytes on standard input, overwritten behind it, and no file", async () => {
  const { commands, calls } = shell({ code: 0 });
  await writeKeyByMmcUtils(commands, "/dev/mmcblk2rpmb", KEY, soon());
  const [call] = calls;
  expect(call).toMatchObject({
    command: "mmc rpmb write-key /dev/mmcblk2rpmb -",
    given: keyDigits(KEY),
  });
  expect(call?.input?.every((byte) => byte === 0)).toBe(true);
});

test.each([
  [
    "RPMB-8.RETCODE: ",
    { code: 1, err: "RPMB operation failed, retcode 0x0001\n" },
    /0x0001 \(general failure\)/,
  ],
  [
    "RPMB-8.RETCODE: ",
    { code: 1, out: "RPMB operation failed, retcode 0x0087\n" },
    /0x0087 \(key not programmed, write counter expired\)/,
  ],
  ["", { code: 1, err: "Data must be 32 bytes length\n" }, /Data must be 32 bytes length/],
  ["", { code: 127, err: "sh: mmc: not found" }, /mmc-utils is not on the board/],
  ["", { code: undefined, signal: "KILL" }, /ended while it wrote the key.*signal KILL/],
  ["", { code: 1, err: `bad key ${keyDigits(KEY)}\u001b[2J` }, /bad key \*/],
])(
  "%swhat mmc-utils says of a failure is told, and never a key: %j",
  async (_ids, answer, message) => {
    const { commands, calls } = shell(answer);
    const text = await refusal(writeKeyByMmcUtils(commands, "/dev/mmcblk2rpmb", KEY, soon()));
    expect(text).toMatch(message);
    expect(text).not.toContain(keyDigits(KEY));
    expect(text).not.toContain("\u001b");
    expect(calls[0]?.input?.every((byte) => byte === 0)).toBe(true);
  },
);

test("nothing but a device is ever put into the command", async () => {
  const { commands, calls } = shell({ code: 0 });
  for (const device of ["/dev/x;reboot", "$(reboot)", "/dev/x y", "mmcblk0rpmb", ""]) {
    expect(await refusal(writeKeyByMmcUtils(commands, device, KEY, soon()))).toMatch(
      /is no device/,
    );
  }
  expect(calls).toEqual([]);
});

test("a program is there when the shell says so", async () => {
  expect(await hasProgram(shell({ code: 0 }).commands, "mmc", soon())).toBe(true);
  expect(await hasProgram(shell({ code: 1 }).commands, "mmc", soon())).toBe(false);
});

test("OP-TEE's lines about its key are known by what they say; nothing behind them is kept", () => {
  const lines = [
    "D/TC:? 0 legacy_rpmb_init:1189 RPMB INIT: Auth key not yet written",
    "D/TC:? 0 tee_rpmb_write_and_verify_key:1090 RPMB INIT: Writing Key value: 71 43 be cb",
    "I/TC: RPMB: Using generated key",
    "D/TC:? 0 legacy_rpmb_init:1181 Found working RPMB device",
    "D/TC:? 0 legacy_rpmb_init:1181 Found working RPMB device",
  ].flatMap((line) => opteeLine(line) ?? []);
  expect(lines.map(({ says }) => says)).toEqual([
    "blank",
    "writing",
    "generated key",
    "working",
    "working",
  ]);
  const text = summarizeLines(lines);
  expect(text).toBe(
    "it found the part blank; it wrote the key; it uses the key that it derived; it found a working RPMB device",
  );
  expect(opteeLine("E/TC:? 0 platform indicates nothing")).toBeUndefined();
  expect(opteeLine("E/TC: RPMB INIT: platform indicates RPMB key is not ready")?.says).toBe(
    "not ready",
  );
});
