import { describe, expect, test } from "@jest/globals";
import { Deadline, InternalError } from "../../base/index.ts";
import type { CommandProtocol, ExecResult, FileTransferProtocol } from "../../board/index.ts";
import { encodeFrames } from "../../rpmb/index.ts";
import { counterByLoader, counterByMmcUtils, openBoardHelper, partFacts } from "./index.ts";

const soon = Deadline.after(60_000, "the test");

/** A board whose shell answers by what the command contains; everything that was run is in `ran`. */
function shell(
  answers: readonly (readonly [part: string, stdout: string, exitCode?: number, stderr?: string])[],
) {
  const ran: string[] = [];
  const commands: CommandProtocol = {
    exec: async (command): Promise<ExecResult> => {
      ran.push(command);
      const [, stdout = "", exitCode = 0, stderr = ""] =
        answers.find(([part]) => command.includes(part)) ?? [];
      return {
        exitCode,
        signal: undefined,
        stdout: Buffer.from(stdout),
        stderr: Buffer.from(stderr),
      };
    },
    start: async () => {
      throw new Error("nothing is started");
    },
  };
  return { commands, ran };
}

const files: FileTransferProtocol = { upload: async () => {}, download: async () => {} };

function open(answers: Parameters<typeof shell>[0], device = "/dev/mmcblk2rpmb") {
  const { commands, ran } = shell(answers);
  const options = { commands, files, program: "/p", device, deadline: soon, where: "shelf-3" };
  return { ran, helper: openBoardHelper(options) };
}

const MADE = ["mktemp -d /tmp/", "/tmp/lockstep-rpmb.a1B2c3\n"] as const;
const RUNS = ["lockstep-rpmb&&", "error usage 0\n", 1] as const;
const REMOVED = "rm -rf -- /tmp/lockstep-rpmb.a1B2c3";

describe("the helper on a board", () => {
  test("tells the facts of the part and is removed at the end", async () => {
    const { helper, ran } = open([
      MADE,
      RUNS,
      [
        "</dev/null",
        "fact cid 150100424a5444345203a1b2c3d4c59b\nfact raw_rpmb_size_mult 0x20\nfact rel_sectors 0x1\nfact enhanced_rpmb_supported 1\nfact fwrev 0x0500\nend\n",
      ],
    ]);
    const opened = await helper;
    expect(opened.facts).toEqual({
      cid: Buffer.from("150100424a5444345203a1b2c3d4c59b", "hex"),
      sizeMultiplier: 32,
      relWrSecC: 1,
      enhancedReliableWrite: true,
      firmware: "0x0500",
    });
    await opened.close();
    expect(ran.at(-1)).toBe(REMOVED);
  });

  test.each<[string, string, number, RegExp]>([
    ["no such device", "error open 2\n", 1, /has no \/dev\/mmcblk2rpmb/],
    ["no permission", "error open 13\n", 1, /only root may talk/],
    ["no RPMB device", "error ioctl 25\n", 1, /takes no MMC commands/],
    ["a device in use", "error open 16\n", 1, /is in use/],
    ["a part that is silent", "error ioctl 110\n", 1, /does not answer/],
    ["something else that it printed", "\u001B[2Jhello\nend\n", 0, /not what the helper prints/],
    ["an end before the end", "fact cid 00\n", 0, /not what the helper prints/],
    ["another exit code", "end\n", 139, /not what the helper prints/],
    ["nothing", "", 127, /not what the helper prints/],
  ])("reports %s, and leaves nothing there", async (_what, stdout, exitCode, text) => {
    const { helper, ran } = open([MADE, RUNS, ["</dev/null", stdout, exitCode]]);
    await expect(helper).rejects.toMatchObject({
      name: "InfrastructureError",
      message: expect.stringMatching(text),
      where: "shelf-3",
    });
    expect(ran.at(-1)).toBe(REMOVED);
  });

  test("goes to another folder where the first lets nothing run, and says so where none does", async () => {
    const other = "/run/lockstep-rpmb.xyz";
    const { helper, ran } = open([
      MADE,
      ["mktemp -d /run/", `${other}\n`],
      [`${other}/lockstep-rpmb&&`, "error usage 0\n", 1],
      ["lockstep-rpmb&&", "", 126, "Permission denied"],
      ["</dev/null", "end\n"],
    ]);
    await helper;
    expect(ran).toContain(REMOVED);
    expect(ran.at(-1)).toBe(`${other}/lockstep-rpmb /dev/mmcblk2rpmb </dev/null`);
    const none = open([["mktemp", "", 1, "read-only file system"]]);
    await expect(none.helper).rejects.toMatchObject({
      message: expect.stringMatching(/no program of ours/),
      seen: expect.stringMatching(/\/tmp: read-only file system; \/run: /),
    });
  });

  test("never has a device's name or a folder's be a command", async () => {
    for (const device of ["/dev/x; rm -rf /", "mmcblk2rpmb", "/dev/$(id)", "/etc/passwd x"]) {
      const { helper, ran } = open([MADE, RUNS], device);
      await expect(helper).rejects.toThrow(/is no RPMB device/);
      expect(ran).toEqual([]);
    }
    const { helper, ran } = open([["mktemp", "/tmp/lockstep-rpmb.a;reboot\n"]]);
    await expect(helper).rejects.toThrow(/no program of ours/);
    expect(ran.join("\n")).not.toContain("reboot");
  });

  test("takes exactly the frames that it asked for", async () => {
    for (const answer of ["end\n", `frames ${"00".repeat(512)}\nend\n`]) {
      const { helper } = open([MADE, RUNS, ["printf", answer], ["</dev/null", "end\n"]]);
      await expect((await helper).frames(encodeFrames({ type: 4 }), 2)).rejects.toThrow(
        /not what the helper prints/,
      );
    }
  });
});

test("facts that are not of their form are left out", () => {
  const facts = partFacts(
    new Map([
      ["cid", "150100"],
      ["raw_rpmb_size_mult", "0x100"],
      ["rel_sectors", "-1"],
      ["fwrev", "\u001B[2J"],
    ]),
  );
  expect(facts).toEqual({});
});

const askMmc = async (stdout: string, exitCode: number, stderr = "") => {
  const { commands, ran } = shell([["mmc", stdout, exitCode, stderr]]);
  const claim = await counterByMmcUtils(commands, "/dev/mmcblk2rpmb", soon, "shelf-3");
  expect(ran).toEqual(["mmc rpmb read-counter /dev/mmcblk2rpmb"]);
  return claim;
};

describe("mmc-utils", () => {
  test("tells a counter, or that there is no key, and vouches for neither", async () => {
    expect(await askMmc("Counter value: 0x0000002a\n", 0)).toMatchObject({
      programmed: true,
      counter: { value: 42, expired: false },
      reason: expect.stringMatching(/nonce of zeros and checks no MAC/),
    });
    expect(await askMmc("", 1, "RPMB operation failed, retcode 0x0007\n")).toMatchObject({
      programmed: false,
    });
    expect(
      (await askMmc("", 1, "RPMB operation failed, retcode 0x0001\n")).programmed,
    ).toBeUndefined();
  });

  test("that is not there, or says something else, is the lab's to mend", async () => {
    await expect(askMmc("", 127, "sh: mmc: not found")).rejects.toThrow(
      /mmc-utils is not on the board/,
    );
    await expect(askMmc("", 1, "open: Permission denied")).rejects.toMatchObject({
      seen: "open: Permission denied",
    });
  });
});

describe("U-Boot", () => {
  const INFO = [
    "Device: FSL_SDHC",
    "Manufacturer ID: 15",
    "OEM: 0",
    "Name: BJTD4R ",
    "RPMB Capacity: 4 MiB",
  ];
  const ask = async (
    counter: string[],
    dev = ["switch to partitions #0, OK", "mmc2(part 0) is current device"],
  ) => {
    const typed: string[] = [];
    const answers: Record<string, string[]> = {
      "mmc dev 2": dev,
      "mmc info": INFO,
      "mmc rpmb counter": counter,
    };
    const claim = counterByLoader(
      async (command) => {
        typed.push(command);
        return answers[command] ?? [];
      },
      2,
      "shelf-3",
    );
    return { typed, claim: await claim };
  };

  test("is asked with commands that read, and vouches for nothing", async () => {
    const { typed, claim } = await ask(["RPMB Write counter= 1f"]);
    expect(typed).toEqual(["mmc dev 2", "mmc info", "mmc rpmb counter"]);
    expect(claim).toMatchObject({
      programmed: true,
      counter: { value: 31, expired: false },
      part: { manufacturer: 0x15, oem: 0, name: "BJTD4R" },
    });
    const blank = await ask(["Authentication key not yet programmed "]);
    expect(blank.claim.programmed).toBe(false);
    expect((await ask(["General failure "])).claim).toMatchObject({ programmed: undefined });
  });

  test("that has no such command or no such part is told apart", async () => {
    await expect(ask(["Usage:", "mmc info - display info"])).rejects.toMatchObject({
      name: "UsageError",
      expected: expect.stringMatching(/CONFIG_SUPPORT_EMMC_RPMB/),
    });
    await expect(ask([], ["Unknown command 'mmc' - try 'help'"])).rejects.toMatchObject({
      expected: expect.stringMatching(/CONFIG_CMD_MMC/),
    });
    await expect(ask([], ["MMC Device 2 not found", "no mmc device at slot 2"])).rejects.toThrow(
      /finds no part as mmc 2/,
    );
  });

  test("never gets a command that could change the part", async () => {
    await expect(counterByLoader(async () => [], 2.5, "shelf-3")).rejects.toThrow(InternalError);
  });
});
