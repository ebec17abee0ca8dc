import { expect, test } from "@jest/globals";
import { CLAUSES } from "./index.ts";

/** The mediator sheet's rules; they are numbered throughout, with gaps between its sections. */
const MED = `
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

test("every rule of the mediator sheet is there, in order", () => {
  const ids = CLAUSES.map(({ id }) => id);
  expect(ids.filter((id) => /^MED-\d{3}$/.test(id))).toEqual(MED);
});

test("Xen's defects are what the sheet calls so", () => {
  const defects = CLAUSES.filter(({ level }) => level === "D").map(({ id }) => id.slice(4));
  expect(defects).toEqual(
    "046 052 067 068 069 085 086 106 123 124 130 131 132 135 141 146 147 166".split(" "),
  );
});

test("every section has as many numbered rules as its sheet, numbered from 1", () => {
  const counts = {
    "MED-9": 5,
    "MED-11": 8,
    "MED-12": 6,
    "SMC-4.1": 11,
    "SMC-5": 7,
    "SMC-7": 6,
    "SMC-8": 8,
    "SMC-9": 11,
    "SMC-11": 4,
    "MSG-1.4": 7,
    "MSG-2.1": 3,
    "MSG-2.3": 6,
    "MSG-3": 9,
    "MSG-3.1": 7,
    "TEE-1": 4,
    "TEE-2.1": 4,
    "TEE-3.1": 4,
    "TEE-3.3": 5,
    "TEE-4": 9,
    "RPMB-1": 6,
    "RPMB-2.1": 2,
    "RPMB-3": 6,
    "RPMB-5.1": 4,
    "RPMB-5.3": 6,
    "RPMB-5.5": 10,
    "RPMB-6.1": 4,
    "RPMB-7": 5,
  };
  const seen = new Map<string, number[]>();
  for (const { id, sheet, section } of CLAUSES) {
    const head = `${sheet}-${section}`;
    const number = id.startsWith(`${head}.`) ? id.slice(head.length + 1) : "";
    if (/^\d+$/.test(number)) seen.set(head, [...(seen.get(head) ?? []), Number(number)]);
  }
  expect(Object.fromEntries(seen)).toEqual(
    Object.fromEntries(
      Object.entries(counts).map(([head, count]) => [
        head,
        Array.from({ length: count }, (_, index) => index + 1),
      ]),
    ),
  );
});

test("every table has as many rows as its sheet", () => {
  const rows = new Map<string, number>();
  for (const { id, sheet, section } of CLAUSES) {
    if (!/\.[A-Z][A-Z0-9_]*$/.test(id)) continue;
    rows.set(`${sheet}-${section}`, (rows.get(`${sheet}-${section}`) ?? 0) + 1);
  }
  expect(Object.fromEntries(rows)).toEqual({
    "MED-0": 8,
    "MED-10": 10,
    "MED-12": 5,
    "SMC-0": 2,
    "SMC-1": 24,
    "SMC-2": 15,
    "SMC-3": 19,
    "SMC-3.1": 12,
    "SMC-4.1": 5,
    "SMC-4.2": 9,
    "SMC-5": 4,
    "SMC-6": 4,
    "SMC-9": 17,
    "SMC-10": 7,
    "MSG-1.1": 10,
    "MSG-1.2": 7,
    "MSG-1.3": 6,
    "MSG-2": 14,
    "MSG-2.1": 2,
    "MSG-2.2": 10,
    "MSG-2.4": 5,
    "MSG-3": 20,
    "MSG-3.1": 11,
    "MSG-3.2": 8,
    "MSG-3.3": 3,
    "MSG-3.4": 3,
    "MSG-3.5": 1,
    "MSG-4": 34,
    "MSG-5": 7,
    "MSG-6": 6,
    "TEE-1": 5,
    "TEE-2": 12,
    "TEE-2.1": 6,
    "TEE-2.2": 8,
    "TEE-2.3": 6,
    "TEE-3.3": 3,
    "TEE-4": 3,
    "TEE-5": 5,
    "RPMB-1": 30,
    "RPMB-2.1": 8,
    "RPMB-2.2": 2,
    "RPMB-2.3": 8,
    "RPMB-3.1": 6,
    "RPMB-3.2": 3,
    "RPMB-3.3": 1,
    "RPMB-3.4": 17,
    "RPMB-4": 13,
    "RPMB-5.2": 5,
    "RPMB-5.5": 2,
    "RPMB-5.6": 6,
    "RPMB-6.2": 16,
    "RPMB-8": 8,
    "RPMB-9": 8,
  });
});
