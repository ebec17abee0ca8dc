import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { InfrastructureError, secrets, UsageError } from "../base/index.ts";
import { chooseMirrors, debianMirrors, hostSources, parseDeb822, parseOneLine } from "./mirror.ts";

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

test("a one-line source with options, comments and odd spacing is read", () => {
  const text = `
# deb http://old.example/debian buster main
deb [ arch=amd64 signed-by=${keyring} ]   https://a.example/debian/ trixie  main contrib # note
deb-src https://a.example/debian trixie main
deb	http://b.example/repo ./
`;
  expect(parseOneLine(text)).toEqual([
    {
      uri: "https://a.example/debian/",
      suite: "trixie",
      components: ["main", "contrib"],
      signedBy: keyring,
    },
    { uri: "http://b.example/repo", suite: "./", components: [], signedBy: undefined },
  ]);
});

test("a deb822 file gives every combination of its URIs and suites", () => {
  const text = `# the image's own
Types: deb deb-src
URIs: https://a.example/debian
 https://b.example/debian
Suites: trixie trixie-updates
Components: main
Signed-By: ${keyring}
`;
  expect(parseDeb822(text).map(({ uri, suite }) => `${uri} ${suite}`)).toEqual([
    "https://a.example/debian trixie",
    "https://a.example/debian trixie-updates",
    "https://b.example/debian trixie",
    "https://b.example/debian trixie-updates",
  ]);
  expect(parseDeb822(text)[0]?.signedBy).toBe(keyring);
});

test("disabled stanzas, source-only stanzas and inline keys are no mirrors and no trouble", () => {
  const text = `Types: deb
URIs: https://off.example/debian
Suites: trixie
Components: main
Enabled: no

Types: deb-src
URIs: https://source.example/debian
Suites: trixie
Components: main

Types: deb
URIs: https://key.example/other
Suites: stable
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 URIs: https://fake.example/debian
 -----END PGP PUBLIC KEY BLOCK-----
`;
  expect(parseDeb822(text).map(({ uri }) => uri)).toEqual(["https://key.example/other"]);
});

test("Debian's archive is told from others, and its security archive is found", () => {
  const sources = [
    ...parseOneLine(`deb https://packages.example/apt cloud-sdk-bookworm main
deb https://vendor.example/linux/debian bookworm stable
deb https://third.example/tools stable main
deb cdrom:[Debian]/ bookworm main`),
    ...parseDeb822(`Types: deb
URIs: http://mirror.example/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: ${keyring}

Types: deb
URIs: http://mirror.example/debian-security/
Suites: bookworm-security
Components: main
Signed-By: ${keyring}`),
  ];
  expect(debianMirrors(sources)).toEqual([
    {
      uri: "http://mirror.example/debian",
      securityUri: "http://mirror.example/debian-security",
    },
    { uri: "https://third.example/tools", securityUri: "http://mirror.example/debian-security" },
  ]);
});

test("a password in a mirror's URL is masked wherever text leaves", async () => {
  await chooseMirrors("https://lab:pass-4711@a.example/debian", {});
  expect(secrets.mask("E: https://lab:pass-4711@a.example/debian failed")).not.toContain("4711");
});

test("the host's sources are read in apt's order, and an option or variable beats them", async () => {
  const etc = await mkdtemp(path.join(tmpdir(), "lockstep-etc-"));
  try {
    await expect(chooseMirrors(undefined, {}, etc)).rejects.toThrow(InfrastructureError);
    await mkdir(path.join(etc, "sources.list.d"));
    await writeFile(path.join(etc, "sources.list"), "deb http://one.example/debian trixie main\n");
    await writeFile(
      path.join(etc, "sources.list.d", "b.list.save"),
      "deb http://saved.example/debian trixie main\n",
    );
    await writeFile(
      path.join(etc, "sources.list.d", "a.sources"),
      "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: trixie\nComponents: main\n",
    );
    expect((await hostSources(etc)).map(({ uri }) => uri)).toEqual([
      "http://one.example/debian",
      "mirror+file:///etc/apt/mirrors/debian.list",
    ]);
    expect((await chooseMirrors(undefined, {}, etc))[0]?.uri).toBe("http://one.example/debian");
    const env = { LOCKSTEP_DEBIAN_MIRROR: "https://variable.example/debian/" };
    expect(await chooseMirrors(undefined, env, etc)).toEqual([
      { uri: "https://variable.example/debian", securityUri: undefined },
    ]);
    expect((await chooseMirrors("file:///srv/debian", env, etc))[0]?.uri).toBe(
      "file:///srv/debian",
    );
    await expect(chooseMirrors('x"; evil', env, etc)).rejects.toThrow(UsageError);
  } finally {
    await rm(etc, { recursive: true });
  }
});
