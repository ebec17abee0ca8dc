/** Shows every kind of progress on this process's own stderr, for tests under a pty and a pipe. */
import { setTimeout as sleep } from "node:timers/promises";
import { makeContext } from "../make-context.ts";

const { stdin, stdout, stderr, env } = process;
const { context, progress } = makeContext(
  {
    env,
    cwd: process.cwd(),
    streams: { stdin, stdout, stderr },
    abort: new AbortController().signal,
    version: "0",
  },
  { noColor: process.argv.includes("--no-color") },
);
const boot = context.progress.stage("boot linux");
await sleep(300);
boot.done("Linux 6.12");
const xtest = context.progress.stage("xtest\u001B[2J");
for (let i = 1; i <= 20; i += 1) {
  context.progress.count(i, 20, `regression_${1000 + i}`);
  await sleep(15);
}
context.progress.note("a note");
context.progress.warn("a warning");
context.out("document\n");
xtest.failed("lost");
progress.end();
