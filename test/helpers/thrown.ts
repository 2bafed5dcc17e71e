/** What a call throws; an Error of its own when it throws nothing. */
export function thrownBy(call: () => unknown): unknown {
  try {
    call();
  } catch (thrown) {
    return thrown;
  }
  return new Error('expected the call to throw');
}

/** What a promise rejects with; an Error of its own when it resolves. */
export async function rejectionOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (thrown) {
    return thrown;
  }
  return new Error('expected the promise to reject');
}
