import { readFile } from "node:fs/promises";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { packageRoot } from "../base/index.ts";
import { listBoards, loadBoard } from "../board/index.ts";
import { loadRecipe } from "../images/index.ts";

test("the boards with a hardware unique key name the one that their OP-TEE was built with", async () => {
  for (const name of ["qemu-virt-rpmb-huk", "qemu-virt-rpmb-huk-compat"]) {
    const { recipe } = await loadRecipe(name);
    const file = path.join(packageRoot, "boards", "images", name, "huk.hex");
    expect((await readFile(file, "utf8")).trim()).toBe(recipe.optee?.config["CFG_LOCKSTEP_HUK"]);
    const { rpmb } = await loadBoard(name, { env: {} });
    expect(rpmb?.optee).toMatchObject({ huk: { file } });
  }
});

test("the boards with RPMB say of their OP-TEE what its recipe says", async () => {
  const boards = (await listBoards({ env: {} })).map(({ name }) => name);
  const withRpmb = boards.filter((name) => name.startsWith("qemu-virt-rpmb"));
  expect(withRpmb).toHaveLength(7);
  for (const name of withRpmb) {
    const { image, rpmb } = await loadBoard(name, { env: {} });
    const config = (await loadRecipe(image ?? "")).recipe.optee?.config ?? {};
    const is = (key: string, otherwise: boolean): boolean =>
      config[key] === undefined ? otherwise : config[key] === "y";
    expect([name, rpmb?.optee]).toMatchObject([
      name,
      {
        writeKey: is("CFG_RPMB_WRITE_KEY", false),
        testKey: is("CFG_RPMB_TESTKEY", false),
        compat: is("CFG_CORE_HUK_SUBKEY_COMPAT", true),
        resetFat: is("CFG_RPMB_RESET_FAT", false),
        keyService: is("CFG_LOCKSTEP_KEY_SERVICE", false),
      },
    ]);
  }
});
