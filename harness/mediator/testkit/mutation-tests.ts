import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

// Every test of the mediator as one file, for `npm run mutation`: a mutant is judged in half the time
// when the modules are loaded once. The campaign of random programs is left out, so that what kills
// a mutant is a test that says which behaviour is gone.
const beside = new URL("../", import.meta.url);
const files = readdirSync(fileURLToPath(beside)).filter(
  (name) => name.endsWith(".test.js") && name !== "hostile.test.js",
);
// The life cycle last: one of its tests makes 65,534 VMs.
const late = (name: string): number => (name === "lifecycle.test.js" ? 1 : 0);
for (const name of files.toSorted((a, b) => late(a) - late(b))) {
  await import(new URL(name, beside).href);
}
