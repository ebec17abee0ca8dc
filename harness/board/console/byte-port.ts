/** An open two-way byte channel to a console. Whoever opens it passes the handlers, so no byte is early. */
export interface BytePort {
  /** Resolves when the bytes have been taken over by the operating system. */
  write(bytes: Uint8Array): Promise<void>;
  /** Safe to call twice. */
  close(): Promise<void>;
}

export interface BytePortHandlers {
  onData(bytes: Uint8Array): void;
  /** Called once if the channel ends without `close()` having been called. */
  onLost(reason: string): void;
}
