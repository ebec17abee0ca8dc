import { expect, test } from "@jest/globals";
import { target } from "../support/target.ts";

const run = (name: string): Promise<unknown> => target.run(`mediator/shadow#${name}`, null);

test("MED-050, MED-091: cookie 0 names the shadow: xen's guest reads machine addresses there", async () => {
  expect(await run("readShadowXen")).toEqual({ ret: 0, origin: 4, learned: "a machine address" });
});

test("MED-050, MED-091: cookie 0 names the shadow: strict refuses it", async () => {
  const refused = { ret: 0xffff_0006, origin: 2, learned: "nothing" };
  expect(await run("readShadowStrict")).toEqual(refused);
});
