import { encode, type Layout } from "./agent-layout.ts";

/** Memory of boards/bridge/agent.s: offsets in bytes from its start. */
export const AGENT_PAGES = {
  /** Four pages, of which the first is loaded. */
  size: 0x4000,
  imageSize: 0x1000,
  codeSize: 0xf00,
  config: 0xf00,
} as const;

/** What the program finds at `config`; addresses in bytes, 0 where there is no such device. */
export const AGENT_CONFIG = {
  uartKind: 8,
  uart: 8,
  watchdog: 8,
  distributor: 8,
  redistributor: 8,
  window: 8,
  windowSize: 8,
  /** Milliseconds of silence that end a frame. */
  gap: 8,
  /** Sequence of the request, and number of the SMC, that count as the last. */
  sequence: 8,
  number: 8,
} as const satisfies Layout;

export const UART_KIND = { pl011: 1, imx: 2 } as const;

export interface AgentDevices {
  readonly uart: { readonly kind: keyof typeof UART_KIND; readonly base: number };
  readonly watchdog?: { readonly kind: "imx-wdog"; readonly base: number };
  readonly gic?: { readonly distributor: number; readonly redistributor: number };
}

/** What is loaded: the assembled program and its configuration. Throws RangeError where it is too large. */
export function agentImage(
  program: Uint8Array,
  devices: AgentDevices,
  rest: {
    readonly window: { readonly base: number; readonly size: number };
    readonly gapMs: number;
    readonly sequence: number;
    readonly number: number;
  },
): Uint8Array {
  if (program.length > AGENT_PAGES.codeSize) throw new RangeError("the agent is too large");
  const image = new Uint8Array(AGENT_PAGES.imageSize);
  image.set(program);
  const config = encode(AGENT_CONFIG, {
    uartKind: UART_KIND[devices.uart.kind],
    uart: devices.uart.base,
    watchdog: devices.watchdog?.base ?? 0,
    distributor: devices.gic?.distributor ?? 0,
    redistributor: devices.gic?.redistributor ?? 0,
    window: rest.window.base,
    windowSize: rest.window.size,
    gap: rest.gapMs,
    sequence: rest.sequence,
    number: rest.number,
  });
  image.set(config, AGENT_PAGES.config);
  return image;
}
