import { expect, test } from "@jest/globals";
import { array, assert, property, string } from "fast-check";
import { closest, didYouMean } from "./suggest.ts";

test("a slip of one or two letters finds the word that was meant", () => {
  const words = ["boards", "compare", "console", "report"];
  expect(closest("bords", words)).toBe("boards");
  expect(closest("baords", words)).toBe("boards");
  expect(closest("REPROT", words)).toBe("report");
  expect(closest("cnosoel", words)).toBe("console");
  expect(didYouMean("bords", words)).toBe('did you mean "boards"?');
});

test("the only word that begins so is meant; of several, none", () => {
  expect(closest("comp", ["compare", "console"])).toBe("compare");
  expect(closest("con", ["console", "control"])).toBeUndefined();
});

test("nothing is proposed for a word that is far from all", () => {
  expect(closest("xyzzy", ["boards", "run"])).toBeUndefined();
  expect(didYouMean("q", ["boards"])).toBeUndefined();
});

test("a word is always closest to itself, whatever the candidates", () => {
  assert(
    property(array(string({ minLength: 1, maxLength: 12 }), { minLength: 1 }), (words) => {
      const [word = ""] = words;
      expect(closest(word, words)?.toLowerCase()).toBe(word.toLowerCase());
    }),
  );
});
