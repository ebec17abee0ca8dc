import type { Clock } from "../../harness/base/index.ts";
import {
  BundleWriter,
  type ClauseCatalogue,
  type FactsSheet,
  type RunOutcome,
} from "../../harness/run/index.ts";

/** A clock that tests move by hand, from a fixed moment. */
export class HandClock implements Clock {
  ms = 0;
  monotonicMs(): number {
    return this.ms;
  }
  wallMs(): number {
    return Date.UTC(2026, 0, 5, 9, 0, 0) + this.ms;
  }
}

export const QEMU_FACTS: FactsSheet = {
  board: "qemu-virt",
  boardType: "qemu-virt",
  platform: "qemu",
  versions: {
    "tf-a": "v2.12.1",
    optee: "4.5.0",
    "u-boot": "2025.01",
    linux: "6.12",
    xtest: "4.5.0",
  },
  images: { "flash.bin": "ab".repeat(32), Image: "cd".repeat(32) },
  packages: { "optee-os": "4.5.0-1", "optee-test-qemu": "4.5.0-1" },
  machine: { cpu: "cortex-a53", cores: "2", memory: "1024 MiB", "gic-version": "3" },
  hab: "not-applicable",
  huk: "stub",
  rpmb: "none",
};

export const EMULATED_FACTS: FactsSheet = {
  board: "emulated",
  boardType: "emulated",
  platform: "emulated",
  versions: { "optee-model": "0.1.0" },
  images: {},
  packages: {},
  machine: {},
  hab: "not-applicable",
  huk: "stub",
  rpmb: "none",
};

/** Two sheets of two clauses: every way in which a clause can be accounted for but a failure. */
export const SAMPLE_CATALOGUE: ClauseCatalogue = {
  format: 1,
  unitTests: true,
  sheets: [
    { name: "MED", title: "mediator" },
    { name: "SMC", title: "SMC ABI" },
  ],
  clauses: [
    {
      id: "MED-060",
      sheet: "MED",
      level: "R",
      summary: "pages of a buffer",
      source: "xen xen/arch/arm/tee/optee.c: translate_noncontig",
      status: "implemented",
      unitTests: 2,
    },
    {
      id: "MED-072",
      sheet: "MED",
      summary: "a reference into the void",
      source: "xen xen/arch/arm/tee/optee.c",
      status: "out-of-scope",
      reason: "there is no such rule",
      unitTests: 0,
    },
    {
      id: "SMC-4.1.7",
      sheet: "SMC",
      summary: "at most 127 parameters",
      source: "optee_os core/include/optee_msg.h",
      status: "implemented",
      unitTests: 1,
    },
    {
      id: "SMC-7.2",
      sheet: "SMC",
      summary: "notifications are started",
      source: "optee_os core/include/kernel/notif.h",
      status: "implemented",
      unitTests: 0,
    },
  ],
};

export interface SampleOptions {
  readonly dir: string;
  readonly runtimeDir: string;
  /** Turns some cases into failures of every kind. */
  readonly broken?: boolean;
  readonly cases?: number;
  readonly render?: RunOutcome["render"];
  /** Put in front of every console line, for hostile contents. */
  readonly hostile?: string;
}

/** A bundle like one of a full run: emulated and qemu-virt side by side, both consoles, boot stages. */
export async function writeSampleBundle(options: SampleOptions): Promise<string> {
  const clock = new HandClock();
  const writer = await BundleWriter.create(
    options.dir,
    {
      id: "20260105-090000-qemu-virt",
      lockstep: "0.1.0",
      node: "v20.19.0",
      command: ["lockstep", "run", "--board", "qemu-virt"],
      seed: 7,
    },
    { clock, runtimeDir: options.runtimeDir },
  );
  const hostile = options.hostile ?? "";
  writer.catalogue(SAMPLE_CATALOGUE);
  writer.facts(EMULATED_FACTS);
  writer.facts(QEMU_FACTS);
  const offsets = { normal: 0, secure: 0 };
  const print = (stream: "normal" | "secure", text: string): void => {
    const bytes = Buffer.from(`${hostile}${text}\r\n`, "utf8");
    writer.raw("qemu-virt", stream, bytes);
    writer.event({ type: "line", target: "qemu-virt", stream, offset: offsets[stream], text });
    offsets[stream] += bytes.length;
  };
  for (const id of ["calls-uid", "calls-revision", "exchange-capabilities", "open-session"]) {
    const name = `smc-abi.${id}`;
    writer.event({ type: "case-start", target: "emulated", id: name, offsets: {} });
    clock.ms += 3;
    writer.event({ type: "case-end", target: "emulated", id: name, status: "pass", offsets: {} });
    writer.result({
      target: "emulated",
      suite: "smc-abi",
      id: name,
      title: id.replaceAll("-", " "),
      status: "pass",
      clauses: ["SMC-4.1.7"],
    });
  }
  for (const [stage, ms] of [
    ["bootloader", 2100],
    ["linux", 3900],
    ["tee-ready", 600],
  ] as const) {
    writer.event({ type: "stage-start", target: "qemu-virt", stage });
    print("normal", `[    0.0] ${stage} \u001b[6n coming up`);
    print("secure", `I/TC: ${stage}`);
    clock.ms += ms;
    writer.event({ type: "stage-end", target: "qemu-virt", stage, ok: true });
  }
  const samples = sampleCases(options.cases ?? 139);
  for (const [i, { id, title }] of samples.entries()) {
    const name = `xtest.${id}`;
    writer.event({ type: "case-start", target: "qemu-virt", id: name, offsets: { ...offsets } });
    print("normal", `* ${id} ${title}`);
    print("secure", `D/TC:? 0 tee_ta_init_session:${i} entering ${id}`);
    clock.ms += 40 + ((i * 7919) % 97) ** 2 / 2;
    const broken = options.broken === true ? BROKEN[i] : undefined;
    print("normal", `  ${id} ${broken === undefined ? "OK" : "FAILED"}`);
    const status = broken?.status ?? "pass";
    writer.event({
      type: "case-end",
      target: "qemu-virt",
      id: name,
      status,
      offsets: { ...offsets },
    });
    const { infrastructure, reason, where } = broken ?? {};
    writer.result({
      target: "qemu-virt",
      suite: "xtest",
      id: name,
      title,
      status,
      ...(reason === undefined ? {} : { reason }),
      ...(where === undefined ? {} : { where }),
      ...(infrastructure === undefined ? {} : { infrastructure }),
      subcases: [
        { id: `${id}.1`, title: "first part", status: status === "fail" ? "fail" : "pass" },
        { id: `${id}.2`, title: "second part", status: "skip", reason: "no such device" },
      ],
    });
    writer.result({
      target: "emulated",
      suite: "xtest",
      id: name,
      title,
      status: "skip",
      reason: "not modelled",
    });
  }
  writer.totals({
    target: "qemu-virt",
    suite: "xtest",
    cases: samples.length,
    failed: 0,
    skipped: 0,
    subtests: { seen: 39397, min: 39300, max: 39500 },
  });
  const { render } = options;
  await writer.finish({
    exitCode: options.broken === true ? 5 : 0,
    ...(render === undefined ? {} : { render }),
  });
  return options.dir;
}

const BROKEN: Readonly<
  Record<
    number,
    {
      status: "fail" | "error" | "crash" | "timeout" | "miss" | "xfail" | "xpass";
      reason: string;
      where?: string;
      infrastructure?: true;
    }
  >
> = {
  3: {
    status: "fail",
    reason: "expected TEEC_SUCCESS, got 0xffff000c",
    where: "regression_1000.c:642",
  },
  5: { status: "crash", reason: "OP-TEE core panic: E/TC:0 0 Panic at core/kernel/thread.c:88" },
  9: { status: "timeout", reason: "no output for 60 s; the secure world spins" },
  12: { status: "error", reason: "the SSH connection was lost", infrastructure: true },
  15: { status: "error", reason: "the count of subtests is outside the recorded range" },
  20: { status: "miss", reason: "expected by the list of xtest 4.5.0 but never seen" },
  22: { status: "xfail", reason: "known: needs the PKCS#11 TA" },
  24: { status: "xpass", reason: "expected to fail, see the expectation, but passed" },
};

/** Ids as xtest has them. */
function sampleCases(count: number): { id: string; title: string }[] {
  return Array.from({ length: count }, (_, i) => {
    const id = i < 108 ? `regression_${1001 + i}` : `pkcs11_${1000 + i - 108}`;
    return { id, title: `${TITLES[i % TITLES.length] ?? ""} (${i + 1})` };
  });
}

const TITLES = [
  "Sessions and their limits",
  "Shared memory of odd sizes",
  "Objects in secure storage",
];
