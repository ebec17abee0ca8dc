import { tmpdir } from "node:os";
import { PassThrough, Readable } from "node:stream";
import { runCli } from "../app.ts";

export interface HereResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line in this process: for many small cases, each of which would cost a start. */
export async function lockstepHere(
  args: readonly string[],
  run: {
    readonly cwd?: string;
    readonly env?: Readonly<Record<string, string>>;
    readonly input?: string | Uint8Array;
  } = {},
): Promise<HereResult> {
  const texts = { stdout: "", stderr: "" };
  const sink = (name: keyof typeof texts): PassThrough => {
    const stream = new PassThrough();
    stream.on("data", (chunk: Buffer) => (texts[name] += chunk.toString()));
    return stream;
  };
  const streams = {
    stdin: Readable.from(run.input === undefined ? [] : [Buffer.from(run.input)]),
    stdout: sink("stdout"),
    stderr: sink("stderr"),
  };
  const code = await runCli(args, {
    env: run.env ?? {},
    cwd: run.cwd ?? tmpdir(),
    streams,
    abort: new AbortController().signal,
    version: "0.0.0",
  });
  return { code, ...texts };
}
