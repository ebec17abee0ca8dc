export * from "./confirmation.ts";
export * from "./key-file/index.ts";
export * from "./verify/index.ts";
export type * from "./ledger/entry.ts";
export type { LedgerReading } from "./ledger/chain.ts";
export { KEY_CLIENT, parseKeyClient } from "./key-service.ts";
export { Ledger, ledgerFile, readLedger } from "./ledger/ledger.ts";
export { type GuardClock, guardClock } from "./guard-clock.ts";
