import path from "node:path";
import { InfrastructureError, makeFolder } from "../harness/base/index.ts";
import {
  type BundleReader,
  streamFileAtomic,
  writeError,
  writeFileAtomic,
} from "../harness/run/index.ts";
import { writeAllure } from "./allure.ts";
import { writeHtml } from "./html/page.ts";
import { renderJunit } from "./junit.ts";
import { renderKcidb } from "./kcidb.ts";
import { renderTap } from "./tap.ts";

/** Where each report format goes, within a bundle or an output folder. */
export const REPORT_FILES = {
  html: "report.html",
  junit: "junit.xml",
  tap: "results.tap",
  allure: "allure-results",
  kcidb: "kcidb.json",
} as const;
export type ReportFormat = keyof typeof REPORT_FILES;
export const FORMATS = Object.keys(REPORT_FILES) as ReportFormat[];
/** What every bundle holds; KCIDB is made when it is asked for, under the origin of who submits it. */
export const BUNDLE_FORMATS: readonly ReportFormat[] = ["html", "junit", "tap", "allure"];

export interface RenderOptions {
  /** KCIDB's name for the submitting CI system. */
  readonly origin?: string;
}

type Renderer = (reader: BundleReader, place: string, options: RenderOptions) => Promise<void>;

const RENDERERS: Readonly<Record<ReportFormat, Renderer>> = {
  html: (reader, file) => streamFileAtomic(file, (write) => writeHtml(reader, write)),
  junit: async (reader, file) => writeFileAtomic(file, await renderJunit(reader)),
  tap: async (reader, file) => writeFileAtomic(file, await renderTap(reader)),
  allure: (reader, dir) => writeAllure(reader, dir),
  kcidb: async (reader, file, { origin }) =>
    writeFileAtomic(file, await renderKcidb(reader, origin)),
};

/**
 * Writes reports of a bundle to `dir`; returns their paths. They depend on the bundle alone, so the
 * same bundle gives the same bytes. Throws InfrastructureError when the disk refuses.
 */
export async function renderFormats(
  reader: BundleReader,
  formats: readonly ReportFormat[],
  dir: string,
  options: RenderOptions = {},
): Promise<string[]> {
  const places: string[] = [];
  try {
    makeFolder(dir);
    for (const format of formats) {
      const place = path.join(dir, REPORT_FILES[format]);
      await RENDERERS[format](reader, place, options);
      places.push(place);
    }
  } catch (error) {
    throw asWriteError(dir, error);
  }
  return places;
}

function asWriteError(dir: string, error: unknown): unknown {
  const code = (error as { code?: unknown } | null)?.code;
  if (error instanceof InfrastructureError || typeof code !== "string") return error;
  return writeError(dir, error, "reports");
}

/** Writes every report that belongs into a bundle, by default into the bundle itself. */
export async function renderAll(reader: BundleReader, dir: string = reader.dir): Promise<void> {
  await renderFormats(reader, BUNDLE_FORMATS, dir);
}
