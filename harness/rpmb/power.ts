/** The part lost power in the middle of a transfer, or has none: what was not answered is unknown. */
export class PowerCut extends Error {
  constructor() {
    super("the part has no power");
    this.name = "PowerCut";
  }
}

/** Power of an emulated part, which a test may cut at any frame that crosses the bus. */
export class PowerSupply {
  /** Frames in both directions that crossed the bus whole since power-on. */
  transferred = 0;
  #left = Number.POSITIVE_INFINITY;

  /** Cuts the power during the frame after `frames` more ones. */
  cutAfter(frames: number): void {
    this.#left = frames;
  }

  on(): void {
    this.transferred = 0;
    this.#left = Number.POSITIVE_INFINITY;
  }

  /** One frame crosses the bus; false when the power goes before it is over, or was off. */
  pass(): boolean {
    if (this.#left <= 0) return false;
    this.#left -= 1;
    this.transferred += 1;
    return true;
  }
}
