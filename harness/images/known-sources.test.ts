import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { describeError, InfrastructureError } from "../base/index.ts";
import { IsolatedApt } from "./apt.ts";
import { type DownloadedSource, downloadSource } from "./sources.ts";
import { repositoryToolsMissing, TestRepository } from "./test-repository.ts";

const missing = repositoryToolsMissing();
const withTools = missing.length === 0 ? test : test.skip;
const why = missing.length === 0 ? "" : ` (skipped: this host lacks ${missing.join(", ")})`;

let dir = "";
let archive: TestRepository;
let apt: IsolatedApt;
let suites: readonly string[] = [];

/** An archive whose only suite expired long ago, with three versions of a source. */
beforeAll(async () => {
  if (missing.length > 0) return;
  dir = await mkdtemp(path.join(tmpdir(), "lockstep-known-"));
  archive = new TestRepository(dir);
  const sources = ["4.12-1", "4.10-2", "4.9-1"].map((version) => ({ name: "tee", version }));
  archive.write("next-suite", [], sources, new Date("2020-01-01"));
  const uri = await archive.serve();
  apt = await IsolatedApt.create({
    root: path.join(dir, "apt"),
    suite: "packages-suite",
    architecture: "arm64",
    assumed: [],
    env: process.env,
    abort: new AbortController().signal,
    keyring: archive.keyring,
  });
  suites = await apt.updateSources({ uri, securityUri: undefined }, ["no-suite", "next-suite"]);
}, 60_000);

afterAll(async () => {
  if (missing.length > 0) return;
  await archive.close();
  await rm(dir, { recursive: true });
});

beforeEach(() => {
  if (missing.length === 0) archive.gone.clear();
});

async function download(known: readonly string[]): Promise<DownloadedSource> {
  const folder = await mkdtemp(path.join(dir, "sources-"));
  return await downloadSource(apt, "tee", folder, known);
}

withTools(
  `sources come from the suites that the mirror has, an expired one too${why}`,
  async () => {
    expect(suites).toEqual(["next-suite"]);
    const { record, folder, notes } = await download(["4.12-1"]);
    expect(record).toMatchObject({ name: "tee", version: "4.12-1", patched: true });
    expect((await readdir(folder)).toSorted()).toEqual(["tee_4.12-1.dsc", "tee_4.12.orig.tar.gz"]);
    expect(notes).toEqual([]);
  },
  60_000,
);

withTools(
  `the newest version that is known to work is taken, and a newer one named${why}`,
  async () => {
    const { record, notes } = await download(["4.11-1", "4.10-2", "4.9-1"]);
    expect(record).toMatchObject({ version: "4.10-2", patched: true });
    expect(notes).toEqual([
      "source tee 4.12-1 is offered and not known to work; known: 4.11-1, 4.10-2, 4.9-1",
    ]);
  },
  60_000,
);

withTools(
  `a known version that has left the archive gives way to the next known one${why}`,
  async () => {
    archive.gone.add("tee_4.10-2.dsc");
    const { record, notes } = await download(["4.10-2", "4.9-1"]);
    expect(record).toMatchObject({ version: "4.9-1", patched: true });
    expect(notes).toContain("source tee 4.10-2 has left the archive (404: tee_4.10-2.dsc)");
  },
  60_000,
);

withTools(
  `where no known version is left, the newest there is gets taken and named${why}`,
  async () => {
    archive.gone.add("tee_4.10");
    const { record, notes } = await download(["4.10-2"]);
    expect(record).toMatchObject({ version: "4.12-1", patched: true });
    expect(notes).toEqual([
      "source tee 4.12-1 is offered and not known to work; known: 4.10-2",
      expect.stringMatching(/^source tee 4\.10-2 has left the archive \(404: tee_4\.10/),
    ]);
  },
  60_000,
);

withTools(
  `a mirror with none of the suites is an error that names them${why}`,
  async () => {
    const mirror = { uri: `file://${dir}/empty`, securityUri: undefined };
    const error = await apt.updateSources(mirror, ["forky", "sid"]).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(InfrastructureError);
    expect(describeError(error)).toMatch(
      /cannot read the sources of Debian forky or sid.*--mirror/s,
    );
  },
  60_000,
);
