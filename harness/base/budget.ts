/**
 * How much work a property or stress test may do: `small` in the test lane, `large` in the nightly
 * lane, which sets `LOCKSTEP_BUDGET=nightly`.
 */
export function budget(small: number, large: number): number {
  return process.env["LOCKSTEP_BUDGET"] === "nightly" ? large : small;
}
