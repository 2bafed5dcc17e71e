/** Whether user code returned a promise, its own kind of promise included. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}

/** A promise came where none is allowed, which is reported by itself; its rejection MUST NOT end the process on top of that. */
export function ignoreRejection(value: unknown): void {
  if (isThenable(value)) value.then(undefined, () => {});
}
