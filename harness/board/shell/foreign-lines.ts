/** What a kernel, OP-TEE or TF-A prints into somebody else's output on a shared console. */
const FOREIGN =
  /\[ *\d{1,7}\.\d{6}\](?:\[[^\]]*\])? |\b[DIEF]\/(?:TC|TA|LD):|\b(?:NOTICE|ERROR|WARNING): {2,}BL\d/;

/** Whether `output` holds lines of another program, cut into or between its own. */
export function hasForeignLines(output: string): boolean {
  return FOREIGN.test(output);
}
