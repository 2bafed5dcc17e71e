import { readdirSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import type { Address } from '../../src/transport/connection.ts';

/** Where to connect: the address of a server, or what `net.connect` takes. */
export type Target = Pick<Address, 'host' | 'port' | 'family' | 'path'> | { readonly port: number; readonly host?: string };

/** A socket in the hands of a test: it sends exactly these bytes, and sees exactly what comes back. Errors only end it. */
export class RawPeer {
  readonly socket: Socket;
  /** Called with what comes, instead of keeping it. */
  onBytes: ((bytes: Buffer) => void) | undefined;
  /** Whether the other side has finished sending. */
  hasEnded = false;
  isClosed = false;
  /** With which the socket was closed. */
  error: Error | undefined;
  #received: Buffer[] = [];
  #length = 0;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes) => {
      if (this.onBytes === undefined) this.#received.push(bytes);
      else this.onBytes(bytes);
      this.#length += bytes.length;
    });
    socket.on('end', () => {
      this.hasEnded = true;
    });
    socket.on('error', (error) => {
      this.error = error;
    });
    socket.on('close', () => {
      this.isClosed = true;
    });
  }

  /** Resolves when connected; rejects with the system error. Stays half open, until the test ends it, when the other side finishes. */
  static connect(target: Target, options: { readonly localAddress?: string } = {}): Promise<RawPeer> {
    return new Promise((resolve, reject) => {
      const path = 'path' in target ? target.path : undefined;
      const socket = connect({
        ...(path === undefined ? { port: target.port, host: reachable(target.host) } : { path }),
        ...options,
        allowHalfOpen: true,
        noDelay: true,
      });
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(new RawPeer(socket));
      });
    });
  }

  /** How many bytes have come. */
  get length(): number {
    return this.#length;
  }

  /** All bytes that have come. */
  get received(): Buffer {
    if (this.#received.length > 1) this.#received = [Buffer.concat(this.#received)];
    return this.#received[0] ?? Buffer.alloc(0);
  }

  /** Resolves when the operating system has the bytes, or the socket is gone. */
  send(bytes: Uint8Array | string): Promise<void> {
    return new Promise((resolve) => this.socket.write(bytes, () => resolve()));
  }

  /** Sends bytes whose end will never be taken: nobody waits for them. */
  pour(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }

  /** FIN. */
  end(): void {
    this.socket.end();
  }

  /** RST. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Waits until `length` bytes have come in all. */
  async receive(length: number): Promise<Buffer> {
    await until(() => this.#length >= length || this.isClosed, `${length} bytes`);
    return this.received;
  }

  /** Waits for the end of the socket: in order, by a reset, or because of the test. */
  async closed(limitMs?: number): Promise<void> {
    await until(() => this.isClosed || this.hasEnded, 'the end of the socket', limitMs);
  }
}

/** A wildcard address is one to listen on, not one to dial. */
function reachable(host: string | undefined): string {
  return host === undefined || host === '' || host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host;
}

/** Waits for something that the event loop brings about. Bounded: rejects with what was waited for. */
export async function until(condition: () => boolean, what: string, limitMs = 8000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited ${limitMs} ms in vain for ${what}`);
    await turn();
  }
}

/** One turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export async function turns(count: number): Promise<void> {
  for (let index = 0; index < count; index++) await turn();
}

/** Four bytes of length, then the body: what LengthFieldHandler reads by default. */
export function frame(body: Uint8Array | string): Buffer {
  const bytes = Buffer.from(body);
  const header = Buffer.alloc(4);
  header.writeUInt32BE(bytes.length);
  return Buffer.concat([header, bytes]);
}

/** The bodies of whole frames. */
export function framesIn(bytes: Buffer): Buffer[] {
  const bodies: Buffer[] = [];
  for (let at = 0; at + 4 <= bytes.length; ) {
    const end = at + 4 + bytes.readUInt32BE(at);
    if (end > bytes.length) break;
    bodies.push(bytes.subarray(at + 4, end));
    at = end;
  }
  return bodies;
}

/** Bytes that differ at every place of a run that a test may cut or swap. */
export function pattern(size: number, seed = 0): Buffer {
  const bytes = Buffer.alloc(size);
  let value = (seed * 2_654_435_761 + 1) >>> 0;
  for (let index = 0; index < size; index++) {
    value = (Math.imul(value, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[index] = value >>> 24;
  }
  return bytes;
}

/** Sockets and pipes of this process, listening ones included: what must be back at its base when a test is over. */
export function openHandles(): number {
  return process.getActiveResourcesInfo().filter((name) => /^(TCP|Pipe|TLS)/.test(name)).length;
}

/** Open descriptors of a process (only on Linux); -1 elsewhere. */
export function openFiles(pid: number | 'self' = 'self'): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return -1;
  }
}
