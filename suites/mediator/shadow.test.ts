import { expect, test } from "@jest/globals";
import { target } from "../support/target.ts";

const run = (name: string): Promise<unknown> => target.run(`mediator/shadow#${name}`, null);

test("MED-050, MED-091: cookie 0 has a meaning under xen", async () => {
  expect(await run("readShadowXen")).toEqual({ ret: 0, origin: 4, learned: "a machine address" });
});

test("MED-050, MED-091: cookie 0 is refused under strict", async () => {
  const refused = { ret: 0xffff_0006, origin: 2, learned: "nothing" };
  expect(await run("readShadowStrict")).toEqual(refused);
});
