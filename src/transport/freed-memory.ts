import { MessageChannel } from 'node:worker_threads';

/** The largest block that counts, with room for the header of the allocator (DEFAULT_MMAP_THRESHOLD_MAX of glibc, mallopt(3)). */
const BLOCK_BYTES = 32 * 1024 * 1024 - 65_536;

let isDone = false;

/**
 * Has the C library keep up to 64 MiB of freed memory instead of 128 KiB. The garbage collector frees large packages by the hundred;
 * given back to the system at once, their pages have to be mapped and cleared again for the next ones, which costs more than all
 * the rest of the work on them. glibc adapts by itself when a large mapped block is freed (twice its size), so one is freed: it
 * is never touched, and so never takes real memory. A message to a closed port is the one way to free an ArrayBuffer at once.
 * Nothing depends on it; off when the environment says PORTICO_KEEP_MEMORY=0.
 */
export function keepFreedMemory(): void {
  if (isDone || process.platform !== 'linux' || process.env['PORTICO_KEEP_MEMORY'] === '0') return;
  isDone = true;
  const block = new ArrayBuffer(BLOCK_BYTES);
  const { port1, port2 } = new MessageChannel();
  port2.close();
  port1.postMessage(block, [block]);
  port1.close();
}
