import { expect, test } from "@jest/globals";
import { budget, Deadline } from "../base/index.ts";
import { LoaderPrompt } from "./loader-prompt.ts";
import { LoaderSmc } from "./loader-smc.ts";
import { FakeLoader, type FakeLoaderOptions } from "./testing/fake-loader.ts";

const soon = (): Deadline => Deadline.after(60_000, "the test");
const ANSWER = [0x384f_b3e0n, 0xffff_ffff_ffff_ffffn, 0n, 0x8000_0000_0000_0000n];

function open(options: Partial<FakeLoaderOptions>): { loader: FakeLoader; prompt: LoaderPrompt } {
  const loader = new FakeLoader({ smc: () => ANSWER, ...options });
  return { loader, prompt: new LoaderPrompt(loader, { prompt: /=> $/, silenceMs: 20 }) };
}

test("U-Boot's own smc gives x0 to x3 once two answers agree", async () => {
  const { loader, prompt } = open({ with: ["smc"] });
  const smc = await LoaderSmc.find(prompt, soon());
  expect(await smc?.call([0xbf00_ff01n, 1n], soon(), 100)).toEqual(ANSWER);
  expect(loader.executed.map(([fid, x1]) => [fid, x1])).toEqual([
    [0xbf00_ff01n, 1n],
    [0xbf00_ff01n, 1n],
  ]);
});

test("a boot loader without it is one without it", async () => {
  expect(await LoaderSmc.find(open({}).prompt, soon())).toBeUndefined();
});

test("no answer is wrong on a line that changes one character in a hundred", async () => {
  for (let seed = 1; seed <= budget(5, 200); seed += 1) {
    const { prompt } = open({ with: ["smc"], noise: 10, seed });
    const smc = await LoaderSmc.find(prompt, soon());
    const answer = await smc?.call([1n], soon(), 50).catch((error: unknown) => error);
    if (answer instanceof Error) expect(answer).toMatchObject({ exitCode: 3 });
    else if (smc !== undefined) expect(answer).toEqual(ANSWER);
  }
}, 120_000);

test("answers that never agree are an error of the laboratory", async () => {
  let count = 0n;
  const { prompt } = open({ with: ["smc"], smc: () => [(count += 1n), 0n, 0n, 0n] });
  const smc = await LoaderSmc.find(prompt, soon());
  await expect(smc?.call([1n], soon(), 100)).rejects.toMatchObject({ exitCode: 3 });
});
