export * from "./accounting/account.ts";
export * from "./accounting/listing.ts";
export * from "./accounting/run-catalogue.ts";
export * from "./accounting/scenarios.ts";
export * from "./accounting/titles.ts";
export * from "./clauses/index.ts";
export * from "./divergence/index.ts";
export * from "./fuzz/index.ts";
