import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("rpmb/storage");

/** The subcase of a case that stands for the storage in RPMB. */
const RPMB = "Storage id: 80000100";

interface Outcome {
  readonly subcases: readonly {
    readonly id: string;
    readonly title: string;
    readonly status: string;
  }[];
}

function check(name: string, title: string): void {
  test(title, name, async (run) => {
    const { subcases } = (await run()) as Outcome;
    expect(subcases.filter(({ status }) => status !== "pass")).toEqual([]);
    expect(subcases.map((one) => one.title)).toContain(RPMB);
  });
}

check("kernel6001", "objects are created and deleted, through the kernel");
check("kernel6010", "conflicts and misuse, through the kernel");
check("supplicant6001", "objects are created and deleted, through the supplicant");
check("supplicant6007", "objects change their length, through the supplicant");
check("supplicant6008", "objects are renamed, through the supplicant");
check("supplicant6009", "objects are listed, through the supplicant");
check("supplicant6010", "conflicts and misuse, through the supplicant");
check("supplicant6015", "objects of other TAs cannot be opened, through the supplicant");
check("supplicant6019", "objects of two TAs under one name, through the supplicant");
