import { expect, test } from "@jest/globals";
import { SecretStore } from "./secrets.ts";

test("whoever watches is told of every value once, and of none that is ignored", () => {
  const store = new SecretStore();
  store.add("before");
  const told: string[] = [];
  store.watch((value) => told.push(value));
  for (const value of ["hunter2", "hunter2", "abc", "before", "hunter3"]) store.add(value);
  expect(told).toEqual(["hunter2", "hunter3"]);
  expect(store.size).toBe(3);
  expect(store.mask("a hunter2, not abc")).toBe("a *******, not abc");
});
