import { mkdirSync } from "node:fs";
import path from "node:path";
import { InfrastructureError } from "../harness/base/index.ts";
import {
  type BundleReader,
  streamFileAtomic,
  writeError,
  writeFileAtomic,
} from "../harness/run/index.ts";
import { writeHtml } from "./html/page.ts";
import { renderJunit } from "./junit.ts";
import { renderTap } from "./tap.ts";

/** Where each report format goes, within a bundle or an output folder. */
export const REPORT_FILES = {
  junit: "junit.xml",
  tap: "results.tap",
  html: "report.html",
} as const;
export type ReportFormat = keyof typeof REPORT_FILES;
export const FORMATS = Object.keys(REPORT_FILES) as ReportFormat[];

type Renderer = (reader: BundleReader, file: string) => Promise<void>;

const RENDERERS: Readonly<Record<ReportFormat, Renderer>> = {
  junit: async (reader, file) => writeFileAtomic(file, await renderJunit(reader)),
  tap: async (reader, file) => writeFileAtomic(file, await renderTap(reader)),
  html: async (reader, file) =>
    await streamFileAtomic(file, async (write) => await writeHtml(reader, write)),
};

/** Writes reports of a bundle to `dir`; returns their paths. Throws InfrastructureError when the disk refuses. */
export async function renderFormats(
  reader: BundleReader,
  formats: readonly ReportFormat[],
  dir: string,
): Promise<string[]> {
  const files: string[] = [];
  try {
    mkdirSync(dir, { recursive: true });
    for (const format of formats) {
      const file = path.join(dir, REPORT_FILES[format]);
      await RENDERERS[format](reader, file);
      files.push(file);
    }
  } catch (error) {
    throw asWriteError(dir, error);
  }
  return files;
}

function asWriteError(dir: string, error: unknown): unknown {
  const code = (error as { code?: unknown } | null)?.code;
  if (error instanceof InfrastructureError || typeof code !== "string") return error;
  return writeError(dir, error);
}

/** Writes every report that belongs into a bundle, by default into the bundle itself. */
export async function renderAll(reader: BundleReader, dir: string = reader.dir): Promise<void> {
  await renderFormats(reader, FORMATS, dir);
}
