import type { BoardObserver } from "../../board/index.ts";
import type { RunSink } from "../../run/index.ts";

/** Hands what a board's consoles and stages show to the bundle. */
export function observerFor(target: string, sink: RunSink): BoardObserver {
  return {
    raw: (stream, bytes) => sink.raw(target, stream, bytes),
    line: (stream, offset, text) => sink.event({ type: "line", target, stream, offset, text }),
    stageStart: (stage) => sink.event({ type: "stage-start", target, stage }),
    stageEnd: (stage, ok, remark) =>
      sink.event({
        type: "stage-end",
        target,
        stage,
        ok,
        ...(remark === undefined ? {} : { remark }),
      }),
  };
}
