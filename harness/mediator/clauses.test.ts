import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "@jest/globals";
import { MEDIATOR_CLAUSES } from "./clauses.ts";

/** Every id that the sheet has, as numbers. */
const SHEET = `
  001 002 003 004 005 006 007 008 009 010 015 016 017 020 021 022
  023 024 025 026 027 028 029 030 031 032 033 034 040 041 042 043
  044 045 046 047 048 050 051 052 053 060 061 062 063 064 065 066
  067 068 069 072 080 081 082 083 084 085 086 087 090 091 092 100
  101 102 103 104 105 106 107 110 111 112 113 120 121 122 123 124
  125 130 131 132 133 134 135 140 141 142 143 144 145 146 147 150
  151 152 160 161 162 163 164 165 166 167 168
`
  .trim()
  .split(/\s+/)
  .map((number) => `MED-${number}`);

/** Titles of all tests beside this one. */
function titles(): string[] {
  const here = path.dirname(fileURLToPath(import.meta.url));
  return readdirSync(here)
    .filter((name) => name.endsWith(".test.js"))
    .flatMap((name) => [
      ...readFileSync(path.join(here, name), "utf8").matchAll(/[\s(,]["`](MED-\d+: [^\n]*)/g),
    ])
    .map((match) => match[1] ?? "");
}

test("every rule of the sheet is in the catalogue, once and in order", () => {
  expect(MEDIATOR_CLAUSES.map((clause) => clause.id)).toEqual(SHEET);
});

test("every implemented rule is named by a test of its own, and no test names another", () => {
  const tested = new Set(titles().map((title) => title.slice(0, 7)));
  const implemented = MEDIATOR_CLAUSES.filter((clause) => clause.status === "implemented");
  expect(implemented.map((clause) => clause.id).filter((id) => !tested.has(id))).toEqual([]);
  expect([...tested].filter((id) => !implemented.some((clause) => clause.id === id))).toEqual([]);
});

test("what is out of scope says why", () => {
  for (const clause of MEDIATOR_CLAUSES) {
    expect(clause.reason !== undefined).toBe(clause.status === "out-of-scope");
  }
});
