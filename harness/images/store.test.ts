import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { withLock } from "./lock.ts";
import { IMAGE_FILES, type ImageManifest } from "./model.ts";
import { findByRecipe, imagesRoot, publish, workFolder } from "./store.ts";

// Programs are started here; a loaded machine takes its time.
jest.setTimeout(60_000);

const RECIPE = "ab".repeat(32);
let cache = "";
let env: NodeJS.ProcessEnv = {};

beforeEach(async () => {
  cache = await mkdtemp(path.join(tmpdir(), "lockstep-store-"));
  env = { LOCKSTEP_CACHE: cache };
});
afterEach(async () => {
  await rm(cache, { recursive: true });
});

/** Makes a small image as the builder does: files first, then the manifest that describes them. */
async function makeImage(inputs: string, content: string, recipe = RECIPE) {
  const work = await workFolder(env, "test");
  const out = path.join(work, "image");
  await mkdir(out);
  const files: Record<string, { size: number; sha256: string }> = {};
  for (const name of Object.values(IMAGE_FILES)) {
    await writeFile(path.join(out, name), content);
    files[name] = { size: content.length, sha256: "00" };
  }
  const manifest: ImageManifest = {
    format: 1,
    name: "test",
    description: "",
    suite: "trixie",
    architecture: "arm64",
    suites: [],
    recipe,
    inputs,
    packages: [{ name: "p", version: "1", architecture: "all", sha256: "00", use: "rootfs" }],
    sources: [{ name: "s", version: "2", files: {}, patched: true }],
    notes: [],
    tools: {},
    commands: [],
    files,
    append: "",
    ssh: { user: "root", hostKeyLine: "ssh-ed25519 AAAA" },
  };
  const image = await publish(env, out, manifest);
  await rm(work, { recursive: true });
  return image;
}

test("a published image is found with everything that its users need", async () => {
  expect(await findByRecipe(env, "test", RECIPE)).toBeUndefined();
  const made = await makeImage("cd".repeat(32), "one");
  const found = await findByRecipe(env, "test", RECIPE);
  expect(found).toEqual(made);
  expect(found?.packages).toEqual({ p: "1", "src:s": "2" });
  expect(await readFile(found?.files.kernel ?? "", "utf8")).toBe("one");
  expect(await findByRecipe(env, "test", "cd".repeat(32))).toBeUndefined();
});

test("a damaged image is not found", async () => {
  const made = await makeImage("cd".repeat(32), "whole");
  await truncate(made.files.initrd, 2);
  expect(await findByRecipe(env, "test", RECIPE)).toBeUndefined();
  const again = await makeImage("cd".repeat(32), "whole");
  await writeFile(path.join(again.dir, "manifest.json"), "{ half");
  expect(await findByRecipe(env, "test", RECIPE)).toBeUndefined();
});

test("superseded images go, except the newest, which a run may be using", async () => {
  const dirs: string[] = [];
  for (const inputs of ["11", "22", "33"]) {
    dirs.push((await makeImage(inputs.repeat(32), inputs)).dir);
  }
  const left = await Promise.all(
    dirs.map(async (dir) =>
      (await stat(dir).catch(() => undefined)) === undefined ? "gone" : "there",
    ),
  );
  expect(left).toEqual(["gone", "there", "there"]);
});

test("images of several recipes live side by side, so that switching back is instant", async () => {
  const first = await makeImage("11".repeat(32), "first");
  await makeImage("22".repeat(32), "second", "ef".repeat(32));
  expect((await findByRecipe(env, "test", RECIPE))?.dir).toBe(first.dir);
});

/** A child that publishes images one after the other until it is killed. */
function publisher() {
  const script = `
    import { mkdir, writeFile } from "node:fs/promises";
    const { publish, workFolder } = await import(process.argv[1]);
    const { IMAGE_FILES } = await import(process.argv[2]);
    const env = { LOCKSTEP_CACHE: process.argv[3] };
    for (let n = 0; ; n += 1) {
      const out = await workFolder(env, "test") + "/image";
      await mkdir(out);
      const files = {};
      for (const name of Object.values(IMAGE_FILES)) {
        await writeFile(out + "/" + name, String(n).repeat(5000));
        files[name] = { size: String(n).length * 5000, sha256: "00" };
      }
      const inputs = n.toString(16).padStart(64, "0");
      await publish(env, out, { format: 1, name: "test", recipe: ${JSON.stringify(RECIPE)}, inputs,
        packages: [], sources: [], files, append: String(n), ssh: { user: "root", hostKeyLine: "" } });
      process.stdout.write(n + "\\n");
    }`;
  const modules = ["./store.js", "./model.js"].map((name) => new URL(name, import.meta.url).href);
  const args = ["--input-type=module", "-e", script, ...modules, cache];
  return spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
}

test("a builder killed at any moment leaves whole images only, and its remains are removed", async () => {
  let previous = -1;
  for (let round = 0; round < 12; round += 1) {
    const child = publisher();
    const last = await new Promise<number>((resolve) => {
      let seen = -1;
      // Killed a different number of milliseconds after a publication in each round.
      child.stdout.on("data", (chunk: Buffer) => {
        if (seen < 0) setTimeout(() => child.kill("SIGKILL"), round * 2);
        seen = Number(chunk.toString().trim().split("\n").at(-1));
      });
      child.on("close", () => {
        resolve(seen);
      });
    });
    const found = await findByRecipe(env, "test", RECIPE);
    expect(found).toBeDefined();
    const number = Number(found?.append);
    expect(number).toBeGreaterThanOrEqual(last);
    for (const file of Object.values(found?.files ?? {})) {
      expect(await readFile(file, "utf8")).toBe(String(number).repeat(5000));
    }
    previous = Math.max(previous, number);
  }
  expect(previous).toBeGreaterThanOrEqual(0);
  await makeImage("ff".repeat(32), "after");
  const names = await readdir(path.join(imagesRoot(env), "test"));
  expect(names.filter((name) => /^build-|\.tmp$/.test(name))).toEqual([]);
});

test("the image lock waits for its holder, and a killed holder has let go", async () => {
  const file = path.join(cache, "test.lock");
  const script = `
    const { withLock } = await import(process.argv[1]);
    await withLock(process.argv[2], { abort: new AbortController().signal, onWait() {} }, async () => {
      process.stdout.write("held\\n");
      await new Promise((resolve) => setTimeout(resolve, 600_000));
    });`;
  const url = new URL("./lock.js", import.meta.url).href;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script, url, file], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await new Promise((resolve) => child.stdout.once("data", resolve));
  const holders: string[] = [];
  const onWait = (holder: string): void => {
    holders.push(holder);
    child.kill("SIGKILL");
  };
  const abort = new AbortController().signal;
  const result = await withLock(file, { abort, onWait }, async () => await Promise.resolve("mine"));
  expect(result).toBe("mine");
  expect(holders).toEqual([`process ${child.pid}`]);
});

test("waiting for the image lock can be interrupted", async () => {
  const file = path.join(cache, "test.lock");
  const abort = new AbortController();
  const quiet = { abort: new AbortController().signal, onWait: () => {} };
  await withLock(file, quiet, async () => {
    const second = withLock(
      file,
      {
        abort: abort.signal,
        onWait: () => {
          abort.abort();
        },
      },
      async () => await Promise.resolve("never"),
    );
    await expect(second).rejects.toThrow("stopped while waiting");
  });
});
