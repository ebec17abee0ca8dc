import { Command } from "commander";
import type { CommandBuilder } from "../../context.ts";
import { examples } from "../../help.ts";
import { buildCreate } from "./create.ts";
import { buildDerive } from "./derive.ts";
import { buildDump } from "./dump.ts";
import { buildProvision } from "./provisioning/provision.ts";
import { buildVerify } from "./verify.ts";

export const build: CommandBuilder = (context) => {
  const command = new Command("rpmb").description(
    "Keys and contents of the replay-protected memory block (RPMB) of an eMMC part.",
  );
  command.addCommand(buildDerive(context));
  command.addCommand(buildVerify(context));
  command.addCommand(buildDump(context));
  command.addCommand(buildProvision(context));
  command.addCommand(buildCreate(context));
  return examples(command, [
    ["lockstep rpmb derive --huk @huk.bin --cid @/sys/block/mmcblk2/device/cid", "a part's key"],
    ["lockstep rpmb verify --board shelf-3", "which key its part really has"],
    ["lockstep rpmb dump --image part.rpmb", "what is on an emulated part"],
    ["lockstep rpmb create part.rpmb --cid @cid", "an emulated part, blank"],
    ["lockstep rpmb provision --board shelf-3 --route offline --huk @huk.bin", "plan it"],
  ]);
};
