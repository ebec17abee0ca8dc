import { expect, test } from "@jest/globals";
import type { CatalogueClause } from "../../harness/run/index.ts";
import { divergenceLines } from "../divergences.ts";
import { divergencesOf } from "../testing/divergences.ts";
import { clausesSection } from "./clauses.ts";
import { divergencesSection } from "./divergences.ts";

const divergences = divergencesOf("qemu-virt", "MED-001");
const HOSTILE = '</pre><script>alert(1)</script><img src=x onerror="alert(1)">';

test("every first cause stands there with both sides, its clause, its cases and its entry", () => {
  const html = divergencesSection({ divergences });
  expect(html.match(/<details class="divergence" open>/g)).toHaveLength(2);
  expect(html).toContain("4 runs of scenarios compared: 1 equal, 1 explained, 2 unexplained");
  expect(html).toContain('<a href="#clause-MED-001">MED-001</a>');
  expect(html).toContain('<a href="#case=qemu-virt">qemu-virt</a>');
  expect(html.match(/<mark>/g)).toHaveLength(6);
  expect(html).toContain('<pre class="entry">');
  expect(html).toContain("3 differences after it");
  expect(html).toContain("and has expired");
  expect(html).toContain("no longer true");
  expect(html).toContain("Not compared (1)");
  expect(html).toContain("Known divergences");
});

test("nothing is shown where nothing was compared", () => {
  expect(divergencesSection({ divergences: undefined })).toBe("");
  expect(divergenceLines(undefined)).toEqual([]);
});

test("no text from a board becomes markup", () => {
  const html = divergencesSection({ divergences: divergencesOf(HOSTILE) });
  expect(html).not.toContain("<script");
  expect(html).not.toContain("<img");
  expect(html).toContain("&lt;script");
});

test("the clause matrix marks clauses whose cases diverged", () => {
  const clause: CatalogueClause = {
    id: "MED-001",
    sheet: "MED",
    summary: "a clause",
    source: "a sheet",
    status: "implemented",
    unitTests: 0,
  };
  const catalogue = {
    format: 1 as const,
    unitTests: true,
    sheets: [{ name: "MED", title: "mediator" }],
    clauses: [clause],
  };
  const one = { target: "qemu-virt", suite: "s", id: "s.a", title: "A", clauses: ["MED-001"] };
  const results = { format: 1 as const, cases: [{ ...one, status: "fail" as const }] };
  const html = clausesSection({ catalogue, results, divergences }, ["qemu-virt"]);
  expect(html).toContain('<a class="mark-diverged" href="#divergences">2 diverged</a>');
  const without = clausesSection({ catalogue, results, divergences: undefined }, ["qemu-virt"]);
  expect(without).not.toContain("diverged");
});

test("the summary names each first cause once, however many runs have it", () => {
  const [totals, ...lines] = divergenceLines({
    ...divergences,
    runs: [...divergences.runs, ...divergences.runs],
  });
  expect(totals).toContain("2 unexplained");
  expect(lines.filter((line) => line.includes("2 ×"))).toHaveLength(2);
  expect(lines.at(-1)).toContain("no longer true");
});
