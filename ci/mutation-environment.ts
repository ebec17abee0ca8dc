import type { Circus } from "@jest/types";
import { TestEnvironment } from "jest-environment-node";

/**
 * Jest's environment for `npm run mutation`: after the first test that fails the rest is skipped, as
 * one is enough to kill a mutant and Jest itself stops at whole files only.
 */
export default class MutationEnvironment extends TestEnvironment {
  #killed = false;

  async handleTestEvent(event: Circus.AsyncEvent | Circus.SyncEvent): Promise<void> {
    if (event.name === "test_done" && event.test.errors.length > 0) this.#killed = true;
    if (event.name === "test_start" && this.#killed) event.test.mode = "skip";
    await Promise.resolve();
  }
}
