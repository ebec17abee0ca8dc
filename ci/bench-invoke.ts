import { silentProgress } from "../harness/base/index.ts";
import { prepareImage } from "../harness/images/index.ts";
import { benchInvoke, type InvokeRate, type MemoryUse } from "../harness/platform/index.ts";
import { type Ssh, withHandQemu } from "./hand-qemu.ts";

const BOARD = "qemu-virt";
/** Invocations of each kind in one turn of the real thing: a second or two. */
const CALLS = 2000;

type Rates = Readonly<Record<MemoryUse, InvokeRate>>;

export interface InvokeComparison {
  /** Emulated invocations a second over real ones. */
  readonly ratio: number;
  readonly emulated: InvokeRate;
  readonly real: InvokeRate;
}

/** Invocations of the emulated platform alone. */
export async function benchEmulatedInvoke(): Promise<Rates> {
  return await benchInvoke();
}

/**
 * The same invocations on the emulated platform and, by a small C client in the reference image, on
 * real OP-TEE in QEMU, in turns; of both the fastest batch of some tens of milliseconds counts.
 */
export async function benchInvokeAgainstReal(): Promise<
  Readonly<Record<MemoryUse, InvokeComparison>>
> {
  const abort = new AbortController().signal;
  const image = await prepareImage(BOARD, { env: process.env, progress: silentProgress, abort });
  return await withHandQemu(image, async (ssh) => {
    const turns: Rates[] = [];
    const emulated = await benchInvoke(undefined, async () => {
      turns.push(await realTurn(ssh));
    });
    const compare = (use: MemoryUse): InvokeComparison => {
      const real = {
        callsPerSecond: Math.max(...turns.map((turn) => turn[use].callsPerSecond)),
        p99Us: Math.min(...turns.map((turn) => turn[use].p99Us)),
      };
      const ratio = emulated[use].callsPerSecond / real.callsPerSecond;
      return { ratio, emulated: emulated[use], real };
    };
    return { registered: compare("registered"), temporary: compare("temporary") };
  });
}

async function realTurn(ssh: Ssh): Promise<Rates> {
  const printed = JSON.parse(await ssh(`lockstep-invoke ${CALLS}`)) as Record<
    MemoryUse,
    { batch: number; batchNs: number; p99Ns: number }
  >;
  const rate = (use: MemoryUse): InvokeRate => {
    const { batch, batchNs, p99Ns } = printed[use];
    return { callsPerSecond: Math.round((batch * 1e9) / batchNs), p99Us: p99Ns / 1000 };
  };
  return { registered: rate("registered"), temporary: rate("temporary") };
}
