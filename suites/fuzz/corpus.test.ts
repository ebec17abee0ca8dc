import path from "node:path";
import { expect, test } from "@jest/globals";
import { corpusFiles, corpusFolder, readStored } from "../../harness/lockstep/index.ts";
import { target } from "../support/target.ts";

// One program a file; its clauses begin the title, as those of every other test do.
for (const name of corpusFiles()) {
  const {
    about = name,
    clauses = [],
    expect: expected,
  } = readStored(path.join(corpusFolder, `${name}.json`));
  const title = `${clauses.length === 0 ? "" : `${clauses.join(", ")}: `}${name}: ${about}`;
  test(title, async () => {
    expect(await target.run("fuzz/corpus#program", name)).toEqual({
      xen: [],
      strict: [],
      kvm: [],
      ...expected,
    });
  });
}
