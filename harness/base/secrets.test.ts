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

test("a key is masked in every notation that a message may have it in", () => {
  const key = "a1b2c3d4e5f60718293a4b5c6d7e8f90112233445566778899aabbccddeeff00";
  const store = new SecretStore();
  store.add(key);
  store.add("00".repeat(16));
  const pairs = key.match(/../g) ?? [];
  const forms = [key, key.toUpperCase(), pairs.join(" "), pairs.join(":"), pairs.join(", 0x")];
  forms.push(
    Buffer.from(key, "hex").toString("base64"),
    Buffer.from(key, "hex").toString("base64url"),
  );
  for (const form of forms) {
    expect(store.mask(`<${form}> ${"00".repeat(16)}`)).toBe(
      `<${"*".repeat(form.length)}> ${"00".repeat(16)}`,
    );
  }
});
