import type { Vm } from "../../harness/mediator/index.ts";
import type { ScenarioContext } from "../../harness/platform/index.ts";

/** A guest's VM, for what a hypervisor can do to it; skips where the mediator is not Lockstep's. */
export function vmOf(context: ScenarioContext, guest = 0): Vm {
  const { vm } = context.guest(guest);
  return vm ?? context.skip("does to a VM what only Lockstep's own hypervisor can be asked for");
}
