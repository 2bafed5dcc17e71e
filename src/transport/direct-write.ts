import type { Socket } from 'node:net';
import { getSystemErrorName } from 'node:util';

/**
 * What `Socket.write` does in the end, without the stream in front of it, which costs as much as a small write itself. Used only where
 * the self-test of `static-read.ts` has seen Node make exactly these calls, and bytes arrive that were sent by them; otherwise, and
 * with PORTICO_DIRECT_WRITE=0 in the environment, `Socket.write` is used.
 */
interface StreamHandle {
  /** 0, or an error of the system. What is not taken at once waits in libuv, and `request.oncomplete` follows. */
  writeBuffer(request: WriteRequest, bytes: Uint8Array): number;
  writev(request: WriteRequest, chunks: readonly Uint8Array[], areBytes: boolean): number;
  readonly writeQueueSize: number;
}

interface WriteRequest {
  oncomplete?: (status: number) => void;
  /** Keeps the memory alive. */
  buffer?: unknown;
}

type WriteRequestClass = new () => WriteRequest;

let Request: WriteRequestClass | undefined;
/** Used again and again by writes that are taken at once. */
let request: WriteRequest | undefined;

function handleOf(socket: Socket): StreamHandle | undefined {
  const handle: unknown = Reflect.get(socket, '_handle');
  return isHandle(handle) ? handle : undefined;
}

function isHandle(handle: unknown): handle is StreamHandle {
  if (typeof handle !== 'object' || handle === null) return false;
  const calls = [Reflect.get(handle, 'writeBuffer'), Reflect.get(handle, 'writev')];
  return calls.every((call) => typeof call === 'function') && typeof Reflect.get(handle, 'writeQueueSize') === 'number';
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
  if (typeof found === 'function' && found.name === 'WriteWrap') Request = found as WriteRequestClass;
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
 * Writes chunks in order. 'taken': their memory is free again. 'pending': `owner.onWriteTaken` follows. 'refused': nothing was done, use
 * `Socket.write`. A failure destroys the socket, as it does there.
 */
export function writeDirect(socket: Socket, chunks: readonly Uint8Array[], owner: WriteOwner): 'taken' | 'pending' | 'refused' {
  if (Request === undefined || socket.writableLength > 0 || socket.writableEnded || socket.destroyed || socket.connecting) return 'refused';
  const handle: StreamHandle | null = Reflect.get(socket, '_handle');
  if (handle === null) return 'refused';
  const [first] = chunks;
  if (first === undefined) return 'taken';
  const used = request ?? new Request();
  request = used;
  const status = chunks.length === 1 ? handle.writeBuffer(used, first) : handle.writev(used, chunks, true);
  if (status < 0) {
    socket.destroy(writeError(status));
    return 'pending';
  }
  if (handle.writeQueueSize === 0) return 'taken';
  request = undefined;
  used.buffer = chunks;
  used.oncomplete = (late) => {
    if (late < 0 && !socket.destroyed) socket.destroy(writeError(late));
    else if (late >= 0) owner.onWriteTaken();
  };
  return 'pending';
}

function writeError(errno: number): Error {
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(`write ${code}`), { code, errno, syscall: 'write' });
}
