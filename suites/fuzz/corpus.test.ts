import path from "node:path";
import { expect, test } from "@jest/globals";
import {
  corpusFiles,
  corpusFolder,
  corpusTitle,
  excusesOf,
  type Invariant,
  readStored,
} from "../../harness/lockstep/index.ts";
import { target } from "../support/target.ts";

// One program a file; its clauses begin the title, as those of every other test do.
for (const name of corpusFiles()) {
  const stored = readStored(path.join(corpusFolder, `${name}.json`));
  const { expect: expected } = stored;
  test(corpusTitle(name, stored), async () => {
    const broken = (await target.run("fuzz/corpus#program", name)) as Record<string, Invariant[]>;
    for (const rules of ["xen", "strict", "kvm"] as const) {
      const found = broken[rules] ?? [];
      // One defect may show in more than one way; what no clause excuses fails.
      expect(found).toEqual(expect.arrayContaining([...(expected?.[rules] ?? [])]));
      expect(found.filter((invariant) => excusesOf(invariant, rules).length === 0)).toEqual([]);
    }
  });
}
