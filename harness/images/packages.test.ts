import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { describeError, InfrastructureError, silentProgress } from "../base/index.ts";
import { gatherInputs } from "./packages.ts";
import { loadRecipe, type Recipe } from "./recipe.ts";
import { repositoryToolsMissing, TestRepository } from "./test-repository.ts";

const missing = repositoryToolsMissing();
const withTools = missing.length === 0 ? test : test.skip;
const why = missing.length === 0 ? "" : ` (skipped: this host lacks ${missing.join(", ")})`;

let dir = "";
let repository: TestRepository | undefined;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), "lockstep-apt-"));
});
afterEach(async () => {
  await repository?.close();
  repository = undefined;
  await rm(dir, { recursive: true });
});

/** A served archive whose suite `testing-suite` holds two packages and a source. */
async function served(): Promise<{ archive: TestRepository; mirror: string }> {
  const root = await mkdtemp(path.join(dir, "archive-"));
  const archive = new TestRepository(root);
  repository = archive;
  archive.write(
    "testing-suite",
    [
      { name: "program", version: "1:2.0-1", depends: "library, absent (>= 1)" },
      { name: "program", version: "1:1.0-1", depends: "library" },
      { name: "library", version: "3.0-1" },
      { name: "firmware", version: "1.0" },
    ],
    [
      { name: "sources", version: "2.0-1" },
      { name: "sources", version: "1.9-3" },
      { name: "hyper", version: "4.20-1" },
    ],
  );
  return { archive, mirror: await archive.serve() };
}

async function recipe(hypervisor: string | undefined): Promise<Recipe> {
  const { recipe: real } = await loadRecipe("qemu-virt");
  const { recipe: xen } = await loadRecipe("qemu-xen");
  return {
    ...real,
    ...(hypervisor !== undefined &&
      xen.hypervisor !== undefined && {
        hypervisor: { ...xen.hypervisor, source: hypervisor },
      }),
    suite: "testing-suite",
    packages: { rootfs: ["program"], parts: ["firmware"], assumed: ["absent"] },
    proven: { firmware: "1.0", sources: "2.0-1" },
    firmware: { ...real.firmware, source: "sources" },
  };
}

async function gather(
  mirror: string,
  keyring: string,
  warnings: string[] = [],
  hypervisor?: string,
) {
  return await gatherInputs(
    await recipe(hypervisor),
    path.join(dir, "apt"),
    {
      env: process.env,
      abort: new AbortController().signal,
      progress: { ...silentProgress, warn: (text) => warnings.push(text) },
      mirror,
    },
    keyring,
  );
}

withTools(
  `apt resolves, downloads and verifies in its own folder, and the hashes are recorded${why}`,
  async () => {
    const { archive, mirror } = await served();
    const inputs = await gather(mirror, archive.keyring);
    expect(inputs.packages.map((each) => `${each.name} ${each.version} ${each.use}`)).toEqual([
      "firmware 1.0 parts",
      "library 3.0-1 rootfs",
      "program 1:2.0-1 rootfs",
    ]);
    expect(inputs.source.record).toMatchObject({
      name: "sources",
      version: "2.0-1",
      patched: true,
    });
    expect(inputs.suites).toEqual(["testing-suite"]);
    expect(inputs.notes).toEqual([
      "testing-suite-updates was left out: this mirror has none",
      "testing-suite-security was left out: this mirror has none",
    ]);
    for (const entry of inputs.packages) await readFile(inputs.debOf(entry));
  },
  60_000,
);

withTools(
  `a package version that left the archive is named and its newest other version taken${why}`,
  async () => {
    const { archive, mirror } = await served();
    archive.gone.add("program_2.0-1");
    const warnings: string[] = [];
    const inputs = await gather(mirror, archive.keyring, warnings);
    expect(inputs.packages.find(({ name }) => name === "program")?.version).toBe("1:1.0-1");
    expect(warnings).toEqual([
      "package program 1:2.0-1 has left the archive (404); 1:1.0-1 taken instead",
    ]);
    expect(inputs.notes).toEqual(expect.arrayContaining(warnings));
  },
  60_000,
);

withTools(
  `a package that left the archive altogether is an error that names it${why}`,
  async () => {
    const { archive, mirror } = await served();
    archive.gone.add("library_3.0-1");
    await expect(gather(mirror, archive.keyring)).rejects.toMatchObject({
      message: "package library 3.0-1 has left the archive",
    });
  },
  60_000,
);

withTools(
  `a source version that left the archive is named and the next one taken${why}`,
  async () => {
    const { archive, mirror } = await served();
    archive.gone.add("sources_2.0-1.dsc");
    const inputs = await gather(mirror, archive.keyring);
    expect(inputs.source.record).toMatchObject({ version: "1.9-3", patched: true });
    expect(inputs.notes).toContain(
      "source sources 2.0-1 has left the archive (404: sources_2.0-1.dsc)",
    );
    expect(inputs.notes).toContain("sources 1.9-3 is used; this recipe was proven with 2.0-1");
  },
  60_000,
);

withTools(
  `where only upstream tarballs are left, the newest is used and said to be unpatched${why}`,
  async () => {
    const { archive, mirror } = await served();
    archive.gone.add(".dsc");
    const inputs = await gather(mirror, archive.keyring);
    expect(inputs.source.record).toMatchObject({ version: "2.0-1", patched: false });
    expect(Object.keys(inputs.source.record.files)).toEqual(["sources_2.0.orig.tar.gz"]);
    expect(inputs.notes).toContain(
      "source sources: upstream tarball of 2.0-1 used without Debian's patches",
    );
  },
  60_000,
);

withTools(
  `a hypervisor's source is had beside the firmware's, and what it lost is named${why}`,
  async () => {
    const { archive, mirror } = await served();
    archive.gone.add("hyper_4.20-1.dsc");
    const inputs = await gather(mirror, archive.keyring, [], "hyper");
    expect(inputs.source.record).toMatchObject({ name: "sources", patched: true });
    expect(inputs.hypervisor?.record).toMatchObject({
      name: "hyper",
      version: "4.20-1",
      patched: false,
    });
    expect(inputs.notes).toContain(
      "source hyper: upstream tarball of 4.20-1 used without Debian's patches",
    );
  },
  60_000,
);

withTools(
  `a package whose bytes are not those of the signed index is refused${why}`,
  async () => {
    const { archive, mirror } = await served();
    const [deb = ""] = (await readdir(path.join(archive.dir, "pool"))).filter((name) =>
      name.startsWith("library_"),
    );
    const file = path.join(archive.dir, "pool", deb);
    const bytes = await readFile(file);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    await writeFile(file, bytes);
    const error = await gather(mirror, archive.keyring).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InfrastructureError);
    expect(describeError(error)).toMatch(/Hash Sum mismatch/);
  },
  60_000,
);

withTools(
  `an archive that is signed by somebody else is refused${why}`,
  async () => {
    const { mirror } = await served();
    const other = new TestRepository(await mkdtemp(path.join(dir, "other-")));
    const error = await gather(mirror, other.keyring).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InfrastructureError);
    expect(describeError(error)).toMatch(/signature|signed|NO_PUBKEY/i);
  },
  60_000,
);

withTools(
  `a mirror that cannot be reached is an error with a next step${why}`,
  async () => {
    const { archive, mirror } = await served();
    await archive.close();
    const error = await gather(mirror, archive.keyring).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(InfrastructureError);
    expect(describeError(error)).toMatch(/connect.*give another mirror with --mirror/s);
  },
  120_000,
);
