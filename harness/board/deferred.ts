/** A promise with its handles outside, for results that arrive in callbacks. */
export class Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;

  constructor() {
    const handles: { resolve?: (value: T) => void; reject?: (error: unknown) => void } = {};
    this.promise = new Promise<T>((resolve, reject) => {
      handles.resolve = resolve;
      handles.reject = reject;
    });
    // Whoever waits sees a rejection; nobody waiting is no accident.
    this.promise.catch(() => {});
    this.resolve = (value) => {
      handles.resolve?.(value);
    };
    this.reject = (error) => {
      handles.reject?.(error);
    };
  }
}
