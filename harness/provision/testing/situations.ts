import { createSecretKey, type KeyObject } from "node:crypto";
import { channelTo, EmmcRpmb, keyId, type RpmbChannel } from "../../rpmb/index.ts";
import type { LivePart } from "../perform.ts";
import type { BoardView, PartView, Situation } from "../plan/situation.ts";

export const CID = "fe014e4d4d4330344742c8f6552a6115";
export const OTHER_CID = "150100424a5444345203a1b2c3d4c59b";

/** A key of no route, for tests. */
export const someKey = (fill = 0x5a): KeyObject => createSecretKey(Buffer.alloc(32, fill));

export const boardView = (more: Partial<BoardView> = {}): BoardView => ({
  name: "shelf-3",
  file: "/boards/shelf-3.yaml",
  fileHash: "ab".repeat(32),
  platform: "hardware",
  soc: "i.MX8M Plus",
  lifeCycle: "closed",
  expendable: true,
  ssh: true,
  build: { compat: true, huk: "caam-closed", supplicantEmulation: false },
  ...more,
});

export const partView = (more: Partial<PartView> = {}): PartView => ({
  where: "/dev/mmcblk2rpmb",
  emulated: false,
  cid: CID,
  verdict: "none programmed",
  reason: "",
  keys: [],
  ...more,
});

/** A closed i.MX8M with a blank part, about to be programmed off-line: nothing is in the way. */
export function situation(more: Partial<Situation> = {}): Situation {
  return {
    route: "offline",
    board: boardView(),
    part: partView(),
    key: {
      id: keyId(someKey()),
      how: "a made-up key",
      source: "caam-closed",
      compat: true,
      hukSize: 16,
      published: false,
    },
    trigger: "xtest regression_6001",
    tools: { mmc: true },
    history: { programmed: [], open: [] },
    ...more,
  };
}

/** A part in memory, which may be exchanged behind everybody's back. */
export function livePart(
  device = new EmmcRpmb({ cid: Buffer.from(CID, "hex"), sizeMultiplier: 1 }),
): {
  device: EmmcRpmb;
  part: LivePart;
  channel: RpmbChannel;
  exchange: (other: EmmcRpmb) => void;
} {
  let now = device;
  const channel: RpmbChannel = {
    frames: async (request, count) => await channelTo(now).frames(request, count),
  };
  return {
    device,
    channel,
    part: { channel, cid: async () => Buffer.from(now.cid).toString("hex") },
    exchange: (other) => {
      now = other;
    },
  };
}
