import { expect, test } from "@jest/globals";
import { array, assert, constantFrom, property, string, tuple } from "fast-check";
import { consoleView } from "./console-view.ts";

function screen(shown: string[]): {
  feed: (stream: string, text: string) => void;
  text: () => string;
} {
  let out = "";
  const view = consoleView(shown, "normal", (bytes) => {
    out += Buffer.from(bytes).toString("latin1");
  });
  return { feed: (stream, text) => view(stream, Buffer.from(text, "latin1")), text: () => out };
}

test("one console passes byte for byte, and others do not show", () => {
  const { feed, text } = screen(["secure"]);
  feed("secure", "I/TC: a");
  feed("normal", "no");
  feed("secure", "\u0000\u001B[6n\r\n");
  expect(text()).toBe("I/TC: a\u0000\u001B[6n\r\n");
});

test("the primary console of several passes as it is, the others come as lines with their name", () => {
  const { feed, text } = screen(["normal", "secure"]);
  feed("normal", "boot\r\n");
  feed("secure", "I/TC: hel");
  feed("normal", "=> ");
  feed("secure", "lo\r\nI/TC: world\r\nrest");
  feed("normal", "ls\r\n");
  expect(text()).toBe("boot\r\n=> \r\nsecure| I/TC: hello\r\nsecure| I/TC: world\r\nls\r\n");
});

test("a line that never ends is shown before it fills the memory", () => {
  const { feed, text } = screen(["normal", "secure"]);
  for (let i = 0; i < 20; i += 1) feed("secure", "x".repeat(4096));
  expect(text().length).toBeGreaterThan(65_536);
});

test("the primary console's bytes are the same however the others cut in", () => {
  const piece = tuple(constantFrom("normal", "secure"), string());
  assert(
    property(array(piece), (pieces) => {
      let primary = "";
      const view = consoleView(["normal", "secure"], "normal", (bytes) => {
        const text = Buffer.from(bytes).toString();
        if (!/^(?:\r\n)?secure\| /.test(text)) primary += text;
      });
      for (const [stream, text] of pieces) view(stream, Buffer.from(text.replaceAll("|", "")));
      const sent = pieces.filter(([stream]) => stream === "normal").map(([, text]) => text);
      expect(primary).toBe(sent.join("").replaceAll("|", ""));
    }),
  );
});
