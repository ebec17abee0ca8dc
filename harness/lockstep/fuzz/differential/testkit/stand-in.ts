import { InfrastructureError, TargetCrashError } from "../../../../base/index.ts";
import { loadBoard } from "../../../../board/index.ts";
import {
  type Combination,
  type Data,
  type Target,
  taImages,
  type TraceListener,
} from "../../../../platform/index.ts";
import type { TraceRecord } from "../../../../run/index.ts";
import type { Program } from "../../program.ts";
import { runOnReal } from "../both.ts";
import { modelPort, tasLike } from "../model-side.ts";

/** Where a stand-in's RAM is. */
const RAM = { base: 0x4810_0000, size: 64 * 1024 * 1024 };

export interface StandIn {
  readonly target: Target;
  readonly tas: ReadonlyMap<string, Uint8Array>;
  /** Programs that ran. */
  readonly runs: () => number;
}

/**
 * A second model in the place of a board, for tests of what compares with one. `breaks` says before
 * which run, from 0, the laboratory fails.
 */
export async function standIn(breaks: (run: number) => boolean = () => false): Promise<StandIn> {
  const board = await loadBoard("qemu-virt-hyp", { env: {} });
  const tas = taImages();
  let runs = 0;
  const run = async (
    reference: string,
    args: Data,
    on?: Combination,
    record?: TraceListener,
  ): Promise<Data> => {
    if (reference.endsWith("#freeRam")) return RAM;
    runs += 1;
    if (breaks(runs - 1)) throw new InfrastructureError("the stand-in lost its power");
    const port = modelPort(RAM, tasLike(tas).tas);
    const rules = on?.rules ?? "strict";
    const done = runOnReal(args as unknown as Program, { rules, port, ram: RAM, tas });
    const combination = { conduit: "vm", rules } as const;
    record?.(
      done.records.filter((one): one is TraceRecord => one.type === "smc"),
      combination,
    );
    if (done.crash !== undefined) throw new TargetCrashError(done.crash);
    return done as unknown as Data;
  };
  const target: Target = {
    board,
    run,
    xtest: async (id) => ({ id, title: id, status: "skip", reason: "no Linux" }),
    close: async () => {},
  };
  return { target, tas, runs: () => runs };
}
