import { spawnSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { describeError } from "../base/index.ts";
import type { CommandOptions } from "./command.ts";
import { buildOptee, type OpteeBuilt } from "./optee.ts";
import { type LoadedRecipe, loadRecipe, type RecipeOptee } from "./recipe.ts";
import type { DownloadedSource } from "./sources.ts";

/** In place of make: puts what it was given into the results, and says how often it ran. */
const MAKE = `#!/bin/sh
[ ! -e "$BROKEN" ] || { echo no rule to make it >&2; exit 2; }
echo run >>"$RUNS"
mkdir -p out/core
for result in header pager pageable; do
  cat core/sub.mk core/lockstep/huk.c >out/core/"tee-$result"_v2.bin
done
echo "$@" | tr ' ' '\\n'
`;

let dir = "";
let loaded: LoadedRecipe;
let recipe: RecipeOptee;
let source: DownloadedSource;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), "lockstep-optee-"));
  loaded = await loadRecipe("qemu-virt-rpmb");
  if (loaded.recipe.optee === undefined) throw new Error("the recipe builds no OP-TEE");
  recipe = loaded.recipe.optee;
  const bin = path.join(dir, "bin");
  const core = path.join(dir, "tee-4.10", "core");
  for (const folder of [bin, core, path.join(dir, "source")]) {
    await mkdir(folder, { recursive: true });
  }
  // A build knows no variable of its user's, so the places stand in the script.
  const script = MAKE.replaceAll("$BROKEN", path.join(dir, "broken"));
  await writeFile(path.join(bin, "make"), script.replaceAll("$RUNS", path.join(dir, "runs")));
  await chmod(path.join(bin, "make"), 0o755);
  await writeFile(path.join(core, "sub.mk"), "subdirs-y += kernel");
  const tarball = path.join(dir, "source", "optee-os_4.10.0.orig.tar.gz");
  spawnSync("tar", ["-czf", tarball, "-C", dir, "tee-4.10"]);
  source = {
    record: { name: "optee-os", version: "4.10.0-2", files: { tee: "0" }, patched: false },
    folder: path.join(dir, "source"),
    notes: [],
  };
  await signKey("a key");
});

afterEach(async () => {
  await rm(dir, { recursive: true });
});

async function signKey(text: string): Promise<void> {
  const file = path.join(dir, "parts", recipe.signKey);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, text);
}

async function build(
  change: Partial<RecipeOptee> = {},
  from: Partial<DownloadedSource["record"]> = {},
): Promise<OpteeBuilt> {
  const work = await mkdtemp(path.join(dir, "work-"));
  const options: CommandOptions = {
    env: {
      PATH: `${path.join(dir, "bin")}:${process.env["PATH"]}`,
      LOCKSTEP_CACHE: path.join(dir, "cache"),
    },
    abort: new AbortController().signal,
  };
  const folders = { parts: path.join(dir, "parts"), work };
  const changed = { ...source, record: { ...source.record, ...from } };
  return await buildOptee(loaded, { ...recipe, ...change }, changed, folders, options);
}

const runs = async (): Promise<number> =>
  (await readFile(path.join(dir, "runs"), "utf8").catch(() => "")).split("run").length - 1;

test("our files and lines are in what is built, with the options that the recipe gives", async () => {
  const { folder, commands, cached } = await build();
  expect(cached).toBe(false);
  for (const name of ["tee-header_v2.bin", "tee-pager_v2.bin", "tee-pageable_v2.bin"]) {
    const text = await readFile(path.join(folder, name), "utf8");
    expect(text).toMatch(/^subdirs-y \+= kernel\nsubdirs-y \+= lockstep\n/);
    expect(text).toContain("tee_otp_get_hw_unique_key");
  }
  const log = (await readFile(path.join(folder, "build.log"), "utf8")).split("\n");
  expect(log).toEqual(
    expect.arrayContaining([
      "CFG_RPMB_FS=y",
      "CFG_RPMB_WRITE_KEY=y",
      "CFG_TEE_CORE_LOG_LEVEL=3",
      "TEE_IMPL_VERSION=4.10.0-2",
      "out/core/tee-pager_v2.bin",
    ]),
  );
  expect(commands.join()).toContain("TA_SIGN_KEY=<parts>/usr/lib/optee-os-dev/");
  expect(commands.join()).not.toContain(dir);
});

test("a build is made once and then found, until something that it is made of changes", async () => {
  const first = await build();
  expect(await build()).toEqual({ ...first, cached: true });
  expect(await runs()).toBe(1);
  const others = [
    await build({ config: { ...recipe.config, CFG_RPMB_TESTKEY: "y" } }),
    await build({ make: [...recipe.make, "V=1"] }),
    await build({ files: recipe.files.slice(0, 2) }),
    await build({ lines: { "core/sub.mk": "subdirs-n += lockstep" } }),
    await build({}, { version: "4.10.0-3" }),
    await build({}, { files: { tee: "1" } }),
  ];
  expect(others.filter(({ cached }) => cached)).toEqual([]);
  await signKey("another key");
  others.push(await build());
  expect(new Set([first, ...others].map(({ id }) => id)).size).toBe(others.length + 1);
  await signKey("a key");
  expect(await build()).toEqual({ ...first, cached: true });
});

test("a build that is damaged in the cache is made again", async () => {
  const { folder, id } = await build();
  await writeFile(path.join(folder, "tee-pager_v2.bin"), "torn");
  expect(await build()).toMatchObject({ id, cached: false });
  await rm(path.join(folder, "tee-header_v2.bin"));
  expect(await build()).toMatchObject({ id, cached: false });
  await writeFile(path.join(folder, "build.json"), "{");
  expect(await build()).toMatchObject({ id, cached: false });
  expect(await build()).toMatchObject({ id, cached: true });
  expect(await runs()).toBe(4);
});

test("a failed build leaves nothing behind, and an unknown version is named in its error", async () => {
  await writeFile(path.join(dir, "broken"), "");
  const fail = async (version: string): Promise<string> =>
    describeError(await build({}, { version }).catch((error: unknown) => error));
  expect(await fail("4.10.0-2")).toMatch(/^building optee-os 4\.10\.0-2 failed: .*no rule to make/);
  expect(await fail("4.12.0-1")).toMatch(
    /optee-os 4\.12\.0-1, which is not known to work \(known: 4\.10\.0-2\), failed/,
  );
  await rm(path.join(dir, "broken"));
  expect(await build()).toMatchObject({ cached: false });
});

test("a build that does not leave what the recipe names is an error, and no build", async () => {
  const results = [...recipe.results, "core/tee.elf"];
  for (let again = 0; again < 2; again += 1) {
    await expect(build({ results })).rejects.toMatchObject({
      message: "the build of optee-os left no core/tee.elf",
    });
  }
  expect(await readdir(path.join(dir, "cache", "optee"))).toEqual([]);
});

test("a recipe writes nowhere but into the source, and needs the key that signs its TAs", async () => {
  const outside = { path: "../../huk.c", source: "huk.c" };
  await expect(build({ files: [outside] })).rejects.toMatchObject({ seen: "../../huk.c" });
  await expect(build({ lines: { "/etc/motd": "x" } })).rejects.toMatchObject({ seen: "/etc/motd" });
  await expect(build({ signKey: "/nowhere.pem" })).rejects.toMatchObject({
    expected: "/nowhere.pem",
  });
});
