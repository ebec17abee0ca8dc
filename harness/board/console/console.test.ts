import { expect, test } from "@jest/globals";
import { Deadline, DeadlineError, InternalError } from "../../base/index.ts";
import { Recorder } from "../testing/recorder.ts";
import { Console, type ConsoleLine } from "./console.ts";

function makeConsole(): { console: Console; observer: Recorder } {
  const observer = new Recorder();
  return { console: new Console("normal", observer), observer };
}

const soon = (ms = 5000): Deadline => Deadline.after(ms, "the test");

test("raw bytes reach the observer once and in order, whether or not anybody waits", async () => {
  const { console, observer } = makeConsole();
  console.feed(Buffer.from("boot\u001b[0m\r\n"));
  const wait = console.until(soon(), "a prompt", ({ text, partial }) =>
    partial && text.endsWith("=> ") ? text : undefined,
  );
  console.feed(Buffer.from("\u0000\u00ff"));
  console.feed(Buffer.from("x\r\n=> "));
  await expect(wait).resolves.toBe("=> ");
  console.feed(Buffer.from("tail"));
  expect(observer.bytes("normal")).toEqual(
    Buffer.from("boot\u001b[0m\r\n\u0000\u00ffx\r\n=> tail"),
  );
  expect(console.offset).toBe(observer.bytes("normal").length);
});

test("a wait sees a prompt that stood there before it began", async () => {
  const { console } = makeConsole();
  console.feed(Buffer.from("ready\r\n=> "));
  const seen = console.until(soon(), "=>", ({ text }) => (text === "=> " ? true : undefined));
  await expect(seen).resolves.toBe(true);
});

test("a step that goes on after a match misses nothing behind it in the same read", async () => {
  const { console } = makeConsole();
  const seen: string[] = [];
  const wait = console.until(soon(), "three", ({ text, partial }) => {
    if (!partial) seen.push(text);
    return text === "three" ? seen : undefined;
  });
  console.feed(Buffer.from("one\ntwo\nthree\nfour\n"));
  await expect(wait).resolves.toEqual(["one", "two", "three"]);
});

test("each finished line is shown once, however small the reads", async () => {
  const { console } = makeConsole();
  let lines = 0;
  let longest = 0;
  const wait = console.until(soon(), "end", ({ text, partial }) => {
    if (partial) longest = Math.max(longest, text.length);
    else lines += 1;
    return text === "end" ? true : undefined;
  });
  for (const byte of Buffer.from(`${"x".repeat(5000)}\nsecond\nend\n`))
    console.feed(Buffer.of(byte));
  await wait;
  // The unfinished line is only ever looked at through a window of its end.
  expect({ lines, longest }).toEqual({ lines: 2, longest: 256 });
});

test("a silent console ends in a deadline error that says what was awaited and that it was silent", async () => {
  const { console } = makeConsole();
  const wait = console.until(soon(20), "the prompt =>", () => undefined);
  await expect(wait).rejects.toThrow(DeadlineError);
  await expect(console.until(soon(20), "the prompt =>", () => undefined)).rejects.toMatchObject({
    expected: "the prompt =>",
    where: "console normal",
    seen: expect.stringContaining("silent"),
  });
});

test("a deadline error quotes the last fifteen lines, the unfinished one included", async () => {
  const { console } = makeConsole();
  for (let i = 1; i <= 20; i += 1) console.feed(Buffer.from(`line ${i}\n`));
  console.feed(Buffer.from("unfinished"));
  const error: unknown = await console
    .until(soon(20), "x", () => undefined)
    .catch((e: unknown) => e);
  const seen = (error as DeadlineError).seen ?? "";
  expect(seen).toContain("| line 7\n");
  expect(seen).toContain("| unfinished\n");
  expect(seen).not.toContain("| line 6\n");
});

test("every line has a time that never goes back", () => {
  const { console } = makeConsole();
  const lines: ConsoleLine[] = [];
  console.listen({ line: (line) => lines.push(line) });
  console.feed(Buffer.from("a\nb\n"));
  const [a, b] = lines;
  expect(b?.monotonicMs).toBeGreaterThanOrEqual(a?.monotonicMs ?? Infinity);
  expect(Math.abs((a?.wallMs ?? 0) - Date.now())).toBeLessThan(60_000);
});

test("an observer that fails ends the waits and not the reading", async () => {
  let broken = false;
  const console = new Console("normal", {
    raw: () => {
      if (broken) throw new Error("disk full");
    },
    line: () => {},
  });
  const wait = console.until(soon(), "never", () => undefined);
  broken = true;
  console.feed(Buffer.from("hello\n"));
  await expect(wait).rejects.toThrow(InternalError);
  expect(console.offset).toBe(6);
});

test("typing on a console without a port is refused", async () => {
  const { console } = makeConsole();
  await expect(console.type(Buffer.from("x"))).rejects.toThrow("console normal is not open");
});

test("characters are typed one by one where the board needs it, and two typists take turns", async () => {
  const written: string[] = [];
  const console = new Console("normal", new Recorder(), { characterDelayMs: 1 });
  console.attach({
    write: async (bytes) => {
      written.push(Buffer.from(bytes).toString());
    },
    close: async () => {},
  });
  await Promise.all([console.type(Buffer.from("abc")), console.type(Buffer.from("de"))]);
  expect(written).toEqual(["a", "b", "c", "d", "e"]);
});
