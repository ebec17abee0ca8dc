import { type BundleReader, type RpmbEvidence, unprovenStorage } from "../harness/run/index.ts";
import { oneLine, printable } from "./text.ts";

const SHOWN = 3;

/** A line for each target with results on RPMB storage of which nobody knows what it was. */
export function unprovenLines(reader: Pick<BundleReader, "results" | "info">): string[] {
  return unprovenStorage(reader.results.cases, reader.info.facts).map(
    ({ target, reason, cases }) => {
      const more = cases.length > SHOWN ? ", …" : "";
      const ids = `${cases.slice(0, SHOWN).join(", ")}${more}`;
      return `  ${oneLine(printable(`${cases.length} × ${target}: ${reason} (${ids})`))}`;
    },
  );
}

/** The write counter around a run, as reports show it; undefined where it was never seen. */
export function counterText(evidence: RpmbEvidence | undefined): string | undefined {
  const counter = evidence?.counter;
  if (counter === undefined) return undefined;
  const { before = "unknown", after = "unknown", authentic } = counter;
  return `${before} before, ${after} after${authentic ? "" : ", as the part says"}`;
}
