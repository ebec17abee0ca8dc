import { expect, test } from "@jest/globals";
import { versionIn } from "./versions.ts";

const LINES: readonly (readonly [string, string, string])[] = [
  ["NOTICE:  BL1: v2.12.1(release):", "tf-a", "v2.12.1(release)"],
  ["NOTICE:  BL31: v2.10(release):lf-6.6.52", "tf-a", "v2.10(release):lf-6.6.52"],
  ["I/TC: OP-TEE version: Unknown_4.5 (gcc version 14.2.0) #1 Fri", "optee", "Unknown_4.5"],
  ["U-Boot 2025.01-3+deb13u1 (Jun 24 2026 - 09:07:15 +0000)", "u-boot", "2025.01-3+deb13u1"],
  ["U-Boot SPL 2024.04 (Apr 02 2024)", "u-boot", "2024.04"],
  ["(XEN) Xen version 4.20.4-pre (lockstep@local) (gcc)", "xen", "4.20.4-pre"],
  ["[    0.000000] Linux version 6.12.117 (debian) (gcc) #1", "linux", "6.12.117"],
];

for (const [line, name, version] of LINES) {
  test(`${name} names its version in: ${line}`, () => {
    expect(versionIn(line)).toEqual({ name, version });
  });
}

test("other lines name no version", () => {
  for (const line of ["NOTICE:  BL1: Built : 07:21:43", "U-Boot => version", "the Linux version"])
    expect(versionIn(line)).toBeUndefined();
});
