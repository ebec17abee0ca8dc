import { type BundleReader, unprovenStorage } from "../../harness/run/index.ts";
import { a, e } from "./markup.ts";

const SHOWN = 200;

/** Storage results that prove nothing of a part. Empty when there are none. */
export function storageSection(reader: Pick<BundleReader, "results" | "info">): string {
  const items = unprovenStorage(reader.results.cases, reader.info.facts).map(
    ({ target, reason, cases }) => {
      const links = cases
        .slice(0, SHOWN)
        .map((id) => `<a href="${a(`#case=${encodeURIComponent(id)}`)}">${e(id)}</a>`);
      return `<li><b>${e(target)}</b>: ${e(reason)}<div>${links.join(", ")}</div></li>`;
    },
  );
  if (items.length === 0) return "";
  return (
    `<section id="storage" class="attention"><h2>Storage backend unproven</h2>` +
    `<p>These results are on RPMB storage, and nothing shows that a part was behind it: ` +
    `tee-supplicant may have emulated one. They count as they ended.</p><ul>${items.join("")}</ul></section>`
  );
}
