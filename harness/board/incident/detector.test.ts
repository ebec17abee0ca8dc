import { readFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { packageRoot } from "../../base/index.ts";
import { Console } from "../console/console.ts";
import type { Incident } from "../live.ts";
import { Recorder } from "../testing/recorder.ts";
import { IncidentDetector } from "./detector.ts";

const GOLDEN = path.join(packageRoot, "harness/xtest/testdata/xtest-4.5.0-qemu-virt.console.raw");

function detect(bytes: Uint8Array | string, prepare: (detector: IncidentDetector) => void) {
  const incidents: Incident[] = [];
  const detector = new IncidentDetector((incident) => incidents.push(incident));
  prepare(detector);
  const console = new Console("normal", new Recorder());
  console.listen({
    line: (line) => {
      detector.line(line);
    },
  });
  console.feed(Buffer.from(bytes));
  return incidents;
}

const up = (detector: IncidentDetector): void => {
  detector.enter("up");
};

const booting = (detector: IncidentDetector): void => {
  detector.enter("booting");
};
const rebooting = (detector: IncidentDetector): void => {
  detector.enter("rebooting");
};
const quoting = (detector: IncidentDetector): void => {
  detector.enter("up");
  detector.quoting("normal");
};

test("a whole run of xtest, with the TA panics that it provokes, is no incident", async () => {
  const log = await readFile(GOLDEN);
  const shell = log.indexOf("# \u001b[6ntime xtest");
  expect(shell).toBeGreaterThan(1000);
  const boot = detect(log.subarray(0, shell), booting);
  expect(boot).toEqual([]);
  expect(detect(log.subarray(shell), up)).toEqual([]);
});

test("what OP-TEE says of a TA that panics or aborts is no incident", () => {
  const lines = [
    "E/TC:? 0 TA panicked with code 0xffff0006",
    "E/TC:? 0 User mode data-abort at address 0x0 (translation fault)",
    "E/TC:? 0 User mode prefetch-abort at address 0x4 (translation fault)",
    "E/LD:  Status of TA 5b9e0e40-2636-11e1-ad9e-0002a5d5c51b",
    "D/TC:? 0 user_ta_enter:167 tee_user_ta_enter: TA panicked with code 0xdeadbeef",
    "E/TA:  assertion 'x' failed at os_test.c:12 <f>",
    "* regression_1007 Test Panic",
    "o regression_1021.1 Test panic context release",
    "[   12.000000] optee: debug: all well",
    "DEBUG: something",
  ];
  expect(detect(`${lines.join("\r\n")}\r\n`, up)).toEqual([]);
});

const CASES: readonly (readonly [Incident["kind"], string, string])[] = [
  ["crash", "kernel panic", "[   55.1] Kernel panic - not syncing: Attempted to kill init!"],
  ["crash", "kernel oops", "[    5.1] Internal error: Oops: 0000000096000004 [#1] SMP"],
  ["crash", "kernel oops", "[    5.1] Unable to handle kernel NULL pointer dereference at 0"],
  ["crash", "kernel oops", "[    5.1] kernel BUG at mm/slub.c:443!"],
  ["crash", "kernel oops", "[    5.1] BUG: KASAN: use-after-free in optee_open_session"],
  ["hang", "soft lockup", "[   48.0] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [xtest:1]"],
  ["hang", "hard lockup", "[   48.0] watchdog: Watchdog detected hard LOCKUP on cpu 1"],
  ["hang", "RCU stall", "[   41.0] rcu: INFO: rcu_preempt self-detected stall on CPU"],
  ["hang", "RCU stall", "[   41.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:"],
  [
    "hang",
    "RCU stall",
    "[   41.0] rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: {",
  ],
  [
    "crash",
    "OP-TEE core panic",
    "E/TC:0 0 Panic 'abort outside thread context' at abort.c:584 <f>",
  ],
  ["crash", "OP-TEE core panic", "E/TC:1 0 Panic at core/kernel/panic.c:25 <f>"],
  ["crash", "OP-TEE assertion", "E/TC:0 0 assertion 'prtn' failed at core/kernel/notif.c:35 <f>"],
  ["crash", "OP-TEE core abort", "E/TC:0 0 Core data-abort at address 0x118 (translation fault)"],
  ["crash", "OP-TEE core panic", "xtest li[ 1.0] E/TC:0 0 Panic 'cut in' at x.c:1 <f>"],
  ["crash", "TF-A panic", "PANIC at PC : 0x000000000e0a1234"],
  ["crash", "TF-A panic", "Unhandled Exception in EL3."],
  ["crash", "U-Boot crash", '"Synchronous Abort" handler, esr 0x96000010'],
  ["crash", "unexpected boot banner of TF-A", "NOTICE:  BL1: v2.12.1(release):"],
  ["crash", "unexpected boot banner of U-Boot SPL", "U-Boot SPL 2024.04 (Apr 02 2024)"],
  ["crash", "unexpected boot banner of U-Boot", "U-Boot 2025.01-3+deb13u1 (Jun 24 2026)"],
  ["crash", "unexpected boot banner of Linux", "[    0.000000] Booting Linux on physical CPU 0x0"],
  ["lost", "the login was lost", "BusyBox v1.37.0 (Debian 1:1.37.0-6+b9) built-in shell (ash)"],
];

test("what Xen says of its own end and of its first guest's is an incident", () => {
  const lines = {
    "Xen panic": [
      "(XEN) Panic on CPU 0:",
      "(XEN) Xen BUG at arch/arm/tee/optee.c:512",
      "(XEN) Assertion 'list_empty(&ctx->shm_rpc_list)' failed at arch/arm/tee/optee.c:700",
    ],
    "Xen stopped its first guest": [
      "(XEN) Domain 0 (vcpu#0) crashed on cpu#0:",
      "(XEN) Hardware Dom0 crashed: 'noreboot' set - not rebooting.",
    ],
  };
  for (const [what, all] of Object.entries(lines)) {
    for (const line of all) {
      expect(detect(`${line}\n`, up)).toEqual([{ kind: "crash", what, stream: "normal", line }]);
    }
  }
  expect(detect("(XEN) d0v0 Unhandled SMC/HVC: 0xb200000f\n", up)).toEqual([]);
});

describe("on a board that is up", () => {
  for (const [kind, what, line] of CASES) {
    test(`${line.slice(0, 60)} is a ${kind}`, () => {
      expect(detect(`before\r\n${line}\r\n`, up)).toEqual([{ kind, what, stream: "normal", line }]);
    });
  }
});

test("each kind of incident is reported once a boot", () => {
  const stall = "[   41.0] rcu: INFO: rcu_preempt self-detected stall on CPU\n";
  expect(detect(stall.repeat(20), up)).toHaveLength(1);
});

test("while booting, banners are expected once, and a second round is a reset", () => {
  const boot =
    "NOTICE:  Booting Trusted Firmware\nNOTICE:  BL1: v2.12.1(release):\nU-Boot 2025.01 (x)\n";
  expect(detect(boot, booting)).toEqual([]);
  expect(detect(boot + boot, booting)[0]).toMatchObject({ what: "unexpected boot banner of TF-A" });
});

test("after a switch whose moment nobody knows, old output is ignored until a boot banner", () => {
  const panic = "Kernel panic - not syncing: x\n";
  expect(detect(panic, rebooting)).toEqual([]);
  expect(detect(`${panic}U-Boot 2025.01 (x)\n${panic}`, rebooting)).toHaveLength(1);
});

test("nothing is an incident while the board is off or unknown", () => {
  expect(detect("Kernel panic - not syncing: x\n", () => {})).toEqual([]);
});

test("a boot line that a command prints on the same console is not a reset", () => {
  const line = "[    0.000000] Booting Linux on physical CPU 0x0\n";
  expect(detect(line, quoting)).toEqual([]);
});
