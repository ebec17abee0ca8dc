import type { LiveBoard } from "../board/index.ts";

/** A boot loader's console as the bridge uses it: bytes in, bytes out, and when the board is lost. */
export interface LoaderConsole {
  /** `unpaced`: without the board's delay between characters, for a reader that keeps up with the line. */
  type(bytes: Uint8Array, options?: { readonly unpaced?: boolean }): Promise<void>;
  /** Calls `listener` with what the board sends until the returned function is called. */
  onBytes(listener: (bytes: Uint8Array) => void): () => void;
  /** Calls `listener` when the board crashes, resets or goes away, until the returned function is called. */
  onLost(listener: (what: string) => void): () => void;
}

/** The primary console of a board that stands at its boot loader's prompt. */
export function loaderConsoleOf(board: LiveBoard): LoaderConsole {
  const primary = board.config.consoles.find((console) => console.primary)?.name;
  return {
    type: async (bytes, options) => await board.type(bytes, options),
    onBytes: (listener) =>
      board.onRaw((stream, bytes) => {
        if (stream === primary) listener(bytes);
      }),
    onLost: (listener) =>
      board.onIncident(({ what, line }) => {
        listener(`${what}: ${line}`);
      }),
  };
}
