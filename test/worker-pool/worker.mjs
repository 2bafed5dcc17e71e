import { threadId } from 'node:worker_threads';
import { workerData } from 'piscina';

// biome-ignore lint/style/noDefaultExport: what a task without a name calls
export default function double(value) {
  return value * 2;
}

export function where() {
  return { threadId, workerData };
}

/** Keeps the processor busy, as real work does: no signal is heard meanwhile. */
export function spin() {
  for (;;);
}

/** Waits until the shared number is not 0 any more. */
export function wait(shared) {
  Atomics.wait(new Int32Array(shared), 0, 0);
  return threadId;
}

export async function later(value) {
  await new Promise((resolve) => setImmediate(resolve));
  return value;
}

export function fail(message) {
  throw new RangeError(message);
}

export async function reject(message) {
  throw new RangeError(message);
}

export function take(bytes) {
  return bytes.byteLength;
}

export function unclonable() {
  return () => {};
}

export function exit(code) {
  process.exit(code);
}
