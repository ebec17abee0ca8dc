import { beforeAll, expect, test } from "@jest/globals";
import { type BoardConfig, loadBoard } from "../board/index.ts";
import { requireRpmb } from "./rpmb-setup.ts";

let plain: BoardConfig;
let withRpmb: BoardConfig;

beforeAll(async () => {
  plain = await loadBoard("qemu-virt", { env: {} });
  withRpmb = await loadBoard("qemu-virt-rpmb", { env: {} });
});

test("a board whose OP-TEE is built as a scenario wants it is taken", async () => {
  await requireRpmb(withRpmb, { route: "supplicant" });
  await requireRpmb(withRpmb, { route: "kernel", build: { writeKey: true } });
  await requireRpmb(plain, undefined);
});

test.each([
  [{ writeKey: false }, /built with write_key false, board qemu-virt-rpmb has true/],
  [{ testKey: true }, /built with test_key true, board qemu-virt-rpmb has false/],
  [{ compat: false }, /built with compat false/],
  [{ resetFat: true }, /built with reset_fat true/],
  [{ reeFs: false }, /without storage in files/],
  [{ keyReady: false }, /not ready to program keys/],
  [{ huk: "00112233445566778899aabbccddeeff" }, /built with huk given/],
])("a scenario that wants %j is skipped, with the reason", async (build, reason) => {
  await expect(requireRpmb(withRpmb, { route: "supplicant", build })).rejects.toThrow(reason);
});

test("what a board file does not say is not taken for granted, and neither is RPMB storage", async () => {
  const { writeKey: _, ...optee } = withRpmb.rpmb?.optee ?? {};
  const silent = { ...withRpmb, rpmb: { ...withRpmb.rpmb, optee } };
  const any = { route: "supplicant" } as const;
  await expect(requireRpmb(silent, any)).rejects.toThrow(/write_key true.*does not say/);
  await expect(requireRpmb(plain, any)).rejects.toThrow(/has no `rpmb`/);
  await expect(requireRpmb(withRpmb, undefined)).rejects.toThrow(/made for an OP-TEE without RPMB/);
});
