import type { TeeDevice } from "./tee-device.ts";

/** One open of a TEE device (`struct tee_context`). All ids are valid in their context only. */
export class TeeContext {
  readonly device: TeeDevice;
  /** The fd, and every shared-memory object made here (TEE-3.1.1). */
  references = 1;
  /** Session ids that were opened here and not closed. */
  readonly sessions = new Set<number>();

  constructor(device: TeeDevice) {
    this.device = device;
  }
}
