import type { BoardObserver } from "../observer.ts";

/** An observer that keeps what it is told. */
export class Recorder implements BoardObserver {
  readonly chunks = new Map<string, Buffer[]>();
  readonly lines: { stream: string; offset: number; text: string }[] = [];
  readonly stages: string[] = [];

  raw(stream: string, bytes: Uint8Array): void {
    const chunks = this.chunks.get(stream) ?? [];
    chunks.push(Buffer.from(bytes));
    this.chunks.set(stream, chunks);
  }

  line(stream: string, offset: number, text: string): void {
    this.lines.push({ stream, offset, text });
  }

  stageStart(stage: string): void {
    this.stages.push(`${stage} started`);
  }

  stageEnd(stage: string, ok: boolean): void {
    this.stages.push(`${stage} ${ok ? "reached" : "failed"}`);
  }

  bytes(stream: string): Buffer {
    return Buffer.concat(this.chunks.get(stream) ?? []);
  }
}
