import type { Socket } from 'node:net';
import { getSystemErrorName } from 'node:util';

/**
 * What `Socket.write` does in the end, without the stream in front of it, which costs as much as a small write itself. Used only where
 * the self-test of `static-read.ts` has seen Node make exactly these calls, and bytes arrive that were sent by them; otherwise, and
 * with PORTICO_DIRECT_WRITE=0 in the environment, `Socket.write` is used.
 */
interface StreamHandle {
  /** 0, or an error of the system. */
  writeBuffer(request: WriteRequest, bytes: Uint8Array): number;
  writev(request: WriteRequest, chunks: readonly Uint8Array[], areBytes: boolean): number;
}

/**
 * Of Node's own class. A write that is not taken at once takes hold of it until `oncomplete`, also when libuv sent the rest in a second
 * try; giving it to another write before that ends the process.
 */
interface WriteRequest {
  oncomplete?: (status: number) => void;
  /** Keeps the memory alive. */
  buffer?: unknown;
  /** -1 while no write has hold of it. */
  getAsyncId(): number;
}

/** As the self-test has seen it. */
interface SocketInternals {
  readonly _handle: StreamHandle | null;
}

const FREE = -1;

let Request: (new () => WriteRequest) | undefined;
/** Given to write after write, as long as each is taken at once. */
let request: WriteRequest | undefined;

function handleOf(socket: Socket): StreamHandle | undefined {
  const handle: unknown = Reflect.get(socket, '_handle');
  return isHandle(handle) ? handle : undefined;
}

function isHandle(handle: unknown): handle is StreamHandle {
  if (typeof handle !== 'object' || handle === null) return false;
  return typeof Reflect.get(handle, 'writeBuffer') === 'function' && typeof Reflect.get(handle, 'writev') === 'function';
}

/** Watches Node write to a socket that writes nothing else; the class of its requests is then known. */
export function observeWrite(socket: Socket, bytes: Uint8Array): void {
  const handle = process.env['PORTICO_DIRECT_WRITE'] === '0' ? undefined : handleOf(socket);
  if (handle === undefined) return void socket.write(bytes);
  const own = handle.writeBuffer;
  let seen: WriteRequest | undefined;
  Reflect.set(handle, 'writeBuffer', (given: WriteRequest, data: Uint8Array) => {
    if (data === bytes) seen = given;
    return own.call(handle, given, data);
  });
  socket.write(bytes);
  Reflect.deleteProperty(handle, 'writeBuffer');
  const found: unknown = seen?.constructor;
  if (typeof found === 'function' && found.name === 'WriteWrap' && isRequestClass(found)) Request = found;
}

function isRequestClass(found: object): found is new () => WriteRequest {
  const made: unknown = Reflect.construct(found as new () => unknown, []);
  const ask: unknown = typeof made === 'object' && made !== null ? Reflect.get(made, 'getAsyncId') : undefined;
  return typeof ask === 'function' && ask.call(made) === FREE;
}

/** The self-test has failed. */
export function forbidDirectWrite(): void {
  Request = undefined;
}

/** Whose bytes are written. */
export interface WriteOwner {
  /** All that was 'pending' has been taken. */
  onWriteTaken(): void;
}

/**
 * Writes chunks in order, to a socket that is connected. 'taken': their memory is free again. 'pending': `owner.onWriteTaken` follows. 'refused': nothing was done, use
 * `Socket.write`. A failure destroys the socket, as it does there.
 */
export function writeDirect(socket: Socket, chunks: readonly Uint8Array[], owner: WriteOwner): 'taken' | 'pending' | 'refused' {
  if (Request === undefined || socket.writableLength > 0 || socket.writableEnded) return 'refused';
  // A socket that is destroyed has none. Reflect.get would cost as much as all else here that is not the system call.
  const handle = (socket as unknown as SocketInternals)._handle;
  if (handle === null) return 'refused';
  const [first] = chunks;
  if (first === undefined) return 'taken';
  const used = request ?? new Request();
  const status = chunks.length === 1 ? handle.writeBuffer(used, first) : handle.writev(used, chunks, true);
  if (used.getAsyncId() === FREE) {
    request = used;
    if (status === 0) return 'taken';
    socket.destroy(writeError(status));
    return 'pending';
  }
  request = undefined;
  used.buffer = chunks;
  used.oncomplete = (late) => {
    if (late === 0) owner.onWriteTaken();
    else if (!socket.destroyed) socket.destroy(writeError(late));
  };
  return 'pending';
}

function writeError(errno: number): Error {
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(`write ${code}`), { code, errno, syscall: 'write' });
}
