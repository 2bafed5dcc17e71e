import { connect, createServer, Socket } from 'node:net';
import { neverReference } from '../base/byte-writer.ts';
import { forbidDirectWrite, observeWrite, writeDirect } from './direct-write.ts';

/**
 * One read buffer for all sockets of the process. Normally Node allocates 64 KiB for each read and shrinks it; with `onread` it
 * reads into a buffer given to it. That option exists for client sockets only, but accepted sockets have the same fields, under
 * symbols. Since a read is parsed before the next one begins, all sockets can share the buffer (not on Windows, where reads
 * overlap). Worth 1.2 times on small messages and 1.7 times on large ones; an optimisation that nothing depends on: when a
 * self-test at the first `listen` does not see what it expects, sockets deliver a chunk per read.
 */
const READ_BUFFER_BYTES = 589_824;

/** Called by Node with the socket as `this`. */
export type StaticReadCallback = (this: Socket, byteCount: number, buffer: Uint8Array) => boolean;

interface HandleInternals {
  useUserBuffer(buffer: Uint8Array): void;
}

let readBuffer: Buffer | undefined;

/** The buffer itself, for `net.connect({ onread })`. */
export function sharedReadBuffer(): Buffer {
  if (readBuffer === undefined) {
    readBuffer = Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
    // A view of it that is echoed would change under the socket that sends it.
    neverReference(readBuffer.buffer);
  }
  return readBuffer;
}

/** Off on Windows and when the environment says PORTICO_STATIC_READ=0. */
export function isStaticReadAllowed(): boolean {
  return process.platform !== 'win32' && process.env['PORTICO_STATIC_READ'] !== '0';
}

const symbols = findSymbols();

function findSymbols(): { buffer: symbol; callback: symbol } | undefined {
  const own = Object.getOwnPropertySymbols(new Socket());
  const buffer = own.find((symbol) => symbol.description === 'kBuffer');
  const callback = own.find((symbol) => symbol.description === 'kBufferCb');
  return buffer === undefined || callback === undefined ? undefined : { buffer, callback };
}

/** Makes an accepted socket read into the shared buffer; false when this runtime has no such thing. */
export function installStaticRead(socket: Socket, callback: StaticReadCallback): boolean {
  const handle: unknown = Reflect.get(socket, '_handle');
  if (symbols === undefined || !hasUserBuffer(handle)) return false;
  const buffer = sharedReadBuffer();
  Reflect.set(socket, symbols.buffer, buffer);
  Reflect.set(socket, symbols.callback, callback);
  handle.useUserBuffer(buffer);
  return true;
}

function hasUserBuffer(handle: unknown): handle is HandleInternals {
  return typeof handle === 'object' && handle !== null && 'useUserBuffer' in handle && typeof handle.useUserBuffer === 'function';
}

let selfTest: Promise<boolean> | undefined;
let hasPassed = false;

/** Whether `canReadStatically` has said so. */
export function readsStatically(): boolean {
  return hasPassed;
}

/** Whether accepted sockets can use the shared buffer, found out once per process by trying it over loopback. */
export function canReadStatically(): Promise<boolean> {
  if (!isStaticReadAllowed() || symbols === undefined) return Promise.resolve(false);
  selfTest ??= testStaticRead().then((works) => {
    hasPassed = works;
    if (!works) forbidDirectWrite();
    return works;
  });
  return selfTest;
}

const TEST_BYTES = Buffer.from('portico');
const MORE_BYTES = Buffer.from(' writes');
const TEST_TIMEOUT_MS = 1000;

function testStaticRead(): Promise<boolean> {
  return new Promise((resolve) => {
    let received = '';
    const server = createServer((socket) => {
      const isInstalled = installStaticRead(socket, (byteCount, buffer) => {
        received += Buffer.from(buffer.buffer, buffer.byteOffset, byteCount).toString('latin1');
        return true;
      });
      // Bytes must come through the callback alone, and the end of the stream through its event.
      socket.on('readable', () => {
        if (socket.read() !== null) finish(false);
      });
      socket.on('error', () => finish(false));
      socket.on('end', () => finish(isInstalled && received === `${TEST_BYTES}${MORE_BYTES}`));
    });
    const timer = setTimeout(() => finish(false), TEST_TIMEOUT_MS);
    let client: Socket | undefined;
    const finish = (works: boolean): void => {
      clearTimeout(timer);
      client?.destroy();
      server.close();
      resolve(works);
    };
    server.on('error', () => finish(false));
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      if (address === null || typeof address === 'string') return finish(false);
      const socket = connect(address.port, '127.0.0.1', () => {
        observeWrite(socket, TEST_BYTES);
        if (writeDirect(socket, [MORE_BYTES], { onWriteTaken: () => {} }) === 'refused') socket.write(MORE_BYTES);
        socket.end();
      });
      socket.on('error', () => finish(false));
      client = socket;
    });
  });
}
