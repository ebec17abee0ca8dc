import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, jest, test } from "@jest/globals";
import { packageRoot } from "../../harness/base/index.ts";
import { type CaseResult, BundleReader, BundleWriter } from "../../harness/run/index.ts";
import { renderFormats } from "../render.ts";
import { divergencesOf } from "../testing/divergences.ts";
import { writeSampleBundle } from "../testing/sample-bundle.ts";
import { duration, naturalCompare } from "./markup.ts";
import { attentionSection } from "./overview.ts";

// Real files and processes on a machine that may be busy with boards.
jest.setTimeout(120_000);

let root: string;

beforeAll(() => {
  root = mkdtempSync(path.join(tmpdir(), "lockstep-html-"));
});

afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});

const HOSTILE =
  "</script></template></pre><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">";

async function page(dir: string): Promise<string> {
  const [file = ""] = await renderFormats(await BundleReader.open(dir), ["html"], dir);
  return file;
}

async function sample(name: string, hostile = ""): Promise<string> {
  const dir = path.join(root, name);
  const runtimeDir = path.join(root, "rt");
  return await page(await writeSampleBundle({ dir, runtimeDir, broken: true, cases: 30, hostile }));
}

/** A bundle in which everything that a stranger may have written is an attack. */
async function attack(): Promise<string> {
  const dir = path.join(root, "attack");
  const start = { id: HOSTILE, lockstep: HOSTILE, node: HOSTILE, command: [HOSTILE], seed: 1 };
  const writer = await BundleWriter.create(dir, start, { runtimeDir: path.join(root, "rt") });
  writer.facts({
    board: HOSTILE,
    boardType: HOSTILE,
    platform: "qemu",
    versions: { [HOSTILE]: HOSTILE },
    images: { [HOSTILE]: HOSTILE },
    packages: { [HOSTILE]: HOSTILE },
    machine: { [HOSTILE]: HOSTILE },
    hab: "unknown",
    huk: "unknown",
    rpmb: "unknown",
  });
  writer.event({ type: "stage-start", target: HOSTILE, stage: HOSTILE });
  writer.event({ type: "stage-end", target: HOSTILE, stage: HOSTILE, ok: false, remark: HOSTILE });
  writer.event({ type: "case-start", target: HOSTILE, id: HOSTILE, offsets: {} });
  const bytes = Buffer.concat([
    Buffer.from(`\u001b[31m${HOSTILE}\u001b]0;title\u0007\r\n`),
    Buffer.from(Array.from({ length: 256 }, (_, i) => i)),
  ]);
  writer.raw(HOSTILE, HOSTILE, bytes);
  const offsets = { [HOSTILE]: bytes.length };
  writer.event({ type: "case-end", target: HOSTILE, id: HOSTILE, status: "fail", offsets });
  writer.event({ type: "warning", target: HOSTILE, text: HOSTILE });
  writer.result({
    target: HOSTILE,
    suite: HOSTILE,
    id: HOSTILE,
    title: HOSTILE,
    status: "fail",
    reason: HOSTILE,
    where: HOSTILE,
    clauses: [HOSTILE],
    subcases: [{ id: HOSTILE, title: HOSTILE, status: "fail", reason: HOSTILE }],
  });
  writer.totals({ target: HOSTILE, suite: HOSTILE, cases: 1, failed: 1, skipped: 0 });
  writer.problem(HOSTILE);
  writer.catalogue({
    format: 1,
    unitTests: true,
    sheets: [{ name: HOSTILE, title: HOSTILE }],
    clauses: [
      {
        id: "MED-001",
        sheet: HOSTILE,
        summary: HOSTILE,
        source: HOSTILE,
        status: "out-of-scope",
        reason: HOSTILE,
        unitTests: 0,
      },
    ],
  });
  writer.divergences(divergencesOf(HOSTILE));
  await writer.finish({ exitCode: 1 });
  return await page(dir);
}

function missed(id: string, reason: string): CaseResult {
  return { target: "b", suite: "xtest", id, title: id, status: "miss", reason };
}

describe("the page", () => {
  test("is one file: nothing is loaded, and only its own script may run", async () => {
    const html = readFileSync(await sample("static"), "utf8");
    expect(html).not.toMatch(/https?:\/\//);
    expect(html).not.toMatch(/<(?:link|img|iframe|object|embed|base)\b/i);
    expect(html).not.toMatch(/\ssrc=|@import|url\(/i);
    const scripts = [...html.matchAll(/<script>([\s\S]*?)<\/script>/g)];
    expect(scripts).toHaveLength(1);
    const hash = createHash("sha256")
      .update(scripts[0]?.[1] ?? "")
      .digest("base64");
    expect(html).toContain(`default-src 'none'; script-src 'sha256-${hash}';`);
  });

  test("begins with the verdict, then what needs attention, and shows both targets side by side", async () => {
    const html = readFileSync(await sample("order"), "utf8");
    const sections = ["verdict", "attention", "facts", "totals", "timing", "cases", "clauses"];
    const places = [...sections, "evidence"].map((id) => html.indexOf(`<section id="${id}"`));
    expect(places).not.toContain(-1);
    expect(places).toEqual(places.toSorted((a, b) => a - b));
    expect(html).toContain("<h1>Target crashed</h1>");
    expect(html).toMatch(/<th scope="col">emulated<\/th><th scope="col">qemu-virt<\/th>/);
    expect(html).toContain("39397 subtests (recorded range 39300 to 39500)");
    expect(html).toContain("<svg");
  });

  test("says of every clause what became of it on each target, with links to its cases", async () => {
    const html = readFileSync(await sample("clauses"), "utf8");
    const section = /<section id="clauses">[\s\S]*?<\/section>/.exec(html)?.[0] ?? "";
    const row = (id: string): string =>
      new RegExp(`<tr id="clause-${id}">.*</tr>`).exec(section)?.[0] ?? "";
    expect(section).toMatch(
      /<th scope="row">MED <small>mediator<\/small><\/th><td class="num">2<\/td>/,
    );
    expect(row("SMC-4.1.7")).toContain("at most 127 parameters");
    expect(row("SMC-4.1.7")).toContain('<span class="chip s-pass">pass</span>');
    expect(row("SMC-4.1.7").match(/href="#case=smc-abi\.[\w-]+"/g)).toHaveLength(4);
    expect(row("SMC-4.1.7")).toContain('<td class="soft">–</td>');
    expect(row("MED-060").match(/<td class="soft">unit tests only<\/td>/g)).toHaveLength(2);
    expect(row("MED-060")).toContain("2 unit tests");
    expect(row("MED-072")).toContain("out of scope: there is no such rule");
    expect(row("SMC-7.2")).toContain('<td class="soft">not reached</td>');
    expect(html).toContain('<a href="#clause-SMC-4.1.7">SMC-4.1.7</a>');
  });

  test("says once what many cases of one board share, with a link to each", () => {
    const cases = [
      missed("x.1", "interrupted"),
      missed("x.2", "crashed"),
      missed("x.3", "interrupted"),
    ];
    const html = attentionSection({ results: { format: 1, cases } });
    expect(html.match(/<li>/g)).toHaveLength(2);
    expect(html).toContain(
      '2 × <a href="#case=x.1"><b>x.1</b></a>, <a href="#case=x.3"><b>x.3</b></a> on b<div class="reason s-miss">interrupted</div>',
    );
  });

  test("holds no markup of anybody else's, whatever a board printed or a file said", async () => {
    const html = readFileSync(await attack(), "utf8");
    expect(html).not.toContain("<script>document");
    expect(html).not.toContain("<img");
    expect(html.match(/<script/g)?.length).toBe(2);
  });
});

const browser = ["chromium", "chromium-browser", "google-chrome"].find(
  (name) => spawnSync(name, ["--version"]).status === 0,
);
const inBrowser = browser === undefined ? test.skip : test;
const noBrowser = browser === undefined ? "; skipped: no chromium" : "";

/** The page's DOM after its script has run, opened from disk. */
function open(file: string, hash = ""): string {
  const profile = mkdtempSync(path.join(root, "profile-"));
  const run = spawnSync(
    browser ?? "",
    [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      `--user-data-dir=${profile}`,
      "--virtual-time-budget=10000",
      "--dump-dom",
      `${pathToFileURL(file).href}${hash}`,
    ],
    { encoding: "utf8", maxBuffer: 64 << 20, timeout: 60_000 },
  );
  if (!run.stdout.includes('data-ready="yes"')) throw new Error(`no page: ${run.stderr}`);
  return run.stdout;
}

/** Ids of the rows that can be seen. */
function visible(dom: string): string[] {
  return [...dom.matchAll(/<tr class="case"([^>]*)>/g)]
    .filter(([, attributes = ""]) => !/\shidden(?:=|\s|$)/.test(attributes))
    .map(([, attributes = ""]) => /data-id="([^"]*)"/.exec(attributes)?.[1] ?? "");
}

describe("in a browser", () => {
  inBrowser(
    `rows are filtered by status, suite and words, as the address says${noBrowser}`,
    async () => {
      const file = await sample("filters");
      expect(visible(open(file))).toHaveLength(34);
      const failed = open(file, "#status=fail,crash");
      expect(visible(failed)).toEqual(["xtest.regression_1004", "xtest.regression_1006"]);
      expect(failed).toMatch(/data-status="fail" aria-pressed="true"/);
      expect(failed).toContain("2 of 34 cases");
      expect(visible(open(file, "#suite=smc-abi"))).toHaveLength(4);
      expect(visible(open(file, "#text=1006"))).toEqual(["xtest.regression_1006"]);
      const none = open(file, "#text=1006&suite=smc-abi");
      expect(visible(none)).toEqual([]);
      expect(none).toMatch(/<p id="nothing">/);
    },
  );

  inBrowser(
    `an opened case shows its reason, its subcases and both consoles${noBrowser}`,
    async () => {
      const dom = open(await sample("details"), "#case=xtest.regression_1004");
      const detail = /<tr class="detail">([\s\S]*?)<\/tr>\s*<script/.exec(dom)?.[1] ?? "";
      expect(detail).toContain("expected TEEC_SUCCESS, got 0xffff000c");
      expect(detail).toContain("regression_1000.c:642");
      expect(detail).toContain("regression_1004.1");
      const consoles = [...detail.matchAll(/<pre [^>]*data-ready="yes"[^>]*>([\s\S]*?)<\/pre>/g)];
      expect(consoles.map(([, text = ""]) => text.split("\n")[0])).toEqual([
        expect.stringContaining("* regression_1004"),
        expect.stringContaining("D/TC:? 0 tee_ta_init_session:3 entering regression_1004"),
      ]);
      expect(dom).toMatch(/aria-expanded="true">xtest\.regression_1004</);
    },
  );

  inBrowser(`nothing that a console printed runs, also when it is shown${noBrowser}`, async () => {
    const dom = open(await attack(), `#case=${encodeURIComponent(HOSTILE)}`);
    expect(dom).not.toMatch(/<title>owned/);
    expect(dom).not.toContain("<img");
    const [, shown = ""] = /<pre [^>]*data-ready="yes"[^>]*>([\s\S]*?)<\/pre>/.exec(dom) ?? [];
    expect(shown).toContain("&lt;script&gt;document.title='owned'&lt;/script&gt;");
    // VT100 is gone, other control characters can be seen.
    expect(shown).not.toContain("[31m");
    expect(shown).toContain("\u2400\u2401\u2402");
  });
});

test("a console longer than the page may hold is cut in the middle and says where the rest is", async () => {
  const dir = path.join(root, "long");
  const start = { id: "r", lockstep: "0", node: "v20", command: [], seed: 1 };
  const writer = await BundleWriter.create(dir, start, { runtimeDir: path.join(root, "rt") });
  writer.event({ type: "case-start", target: "b", id: "s.one", offsets: { normal: 0 } });
  writer.raw("b", "normal", Buffer.from(`first${"x".repeat(1_000_000)}last`));
  const offsets = { normal: 1_000_009 };
  writer.event({ type: "case-end", target: "b", id: "s.one", status: "pass", offsets });
  writer.result({ target: "b", suite: "s", id: "s.one", title: "One", status: "pass" });
  await writer.finish({ exitCode: 0 });
  const html = readFileSync(await page(dir), "utf8");
  expect(html).toContain("bytes 0 to 1,000,009");
  expect(html).toContain("truncated, 967,241 bytes left out");
  expect(html.length).toBeLessThan(60_000);
});

const MEMORY_LIMIT_MB = 300;

test("a bundle with a 200 MB console is rendered in less than 300 MB of memory", () => {
  const source = (body: string): string => `
    const { BundleReader, BundleWriter } =
      await import(${JSON.stringify(path.join(packageRoot, "dist/harness/run/index.js"))});
    const { renderFormats } =
      await import(${JSON.stringify(path.join(packageRoot, "dist/reports/index.js"))});
    const dir = ${JSON.stringify(path.join(root, "huge"))};
    ${body}
    // Not getrusage: until a child has grown beyond it, that tells the size of its parent.
    const { readFileSync } = await import("node:fs");
    const [, peak] = /VmHWM:\\s*(\\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"));
    console.log(Math.round(Number(peak) / 1024));`;
  const run = (body: string): number => {
    const child = spawnSync(process.execPath, ["--input-type=module", "-e", source(body)], {
      encoding: "utf8",
    });
    if (child.status !== 0) throw new Error(child.stderr);
    return Number(child.stdout.trim());
  };
  const written = run(`
    const start = { id: "r", lockstep: "0", node: "v20", command: [], seed: 1 };
    const writer = await BundleWriter.create(dir, start, { runtimeDir: dir + "-rt" });
    const text = "D/TC:? 0 tee_ta_invoke_command:812 an ordinary line of the secure world\\r\\n";
    const chunk = Buffer.from(text.repeat(900));
    let offset = 0;
    for (let i = 0; offset < 200 * 2 ** 20; i++) {
      const id = "s.case-" + i;
      writer.event({ type: "case-start", target: "b", id, offsets: { secure: offset } });
      for (let j = 0; j < 20; j++) {
        writer.raw("b", "secure", chunk);
        writer.event({ type: "line", target: "b", stream: "secure", offset, text: text.trim() });
        offset += chunk.length;
      }
      const status = i % 3 === 0 ? "fail" : "pass";
      writer.event({ type: "case-end", target: "b", id, status, offsets: { secure: offset } });
      writer.result({ target: "b", suite: "s", id, title: id, status, reason: "because" });
    }
    await writer.finish({ exitCode: 1 });`);
  expect(written).toBeLessThan(MEMORY_LIMIT_MB);
  const rendered = run(`
    const reader = await BundleReader.open(dir);
    await renderFormats(reader, ["html", "junit", "tap", "allure", "kcidb"], dir);`);
  expect(rendered).toBeLessThan(MEMORY_LIMIT_MB);
  rmSync(path.join(root, "huge"), { recursive: true });
});

test("ids stand in the order in which people count", () => {
  const ids = ["r_1010", "r_1002", "r_1002.10", "r_1002.2", "q_5", "r_99"];
  expect(ids.toSorted(naturalCompare)).toEqual([
    "q_5",
    "r_99",
    "r_1002",
    "r_1002.2",
    "r_1002.10",
    "r_1010",
  ]);
});

test.each([
  [0.4, "0.4 ms"],
  [42, "42 ms"],
  [4210, "4.21 s"],
  [42_100, "42.1 s"],
  [258_000, "4 min 18 s"],
  [59_999, "60.0 s"],
  [7_320_000, "2 h 02 min"],
])("%d ms reads %s", (ms, text) => {
  expect(duration(ms)).toBe(text);
});
