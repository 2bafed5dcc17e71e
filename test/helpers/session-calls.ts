import { setImmediate as nextTurn } from 'node:timers/promises';
import { PeerError, PorticoError } from '../../src/base/errors.ts';
import type { TcpClient, TcpServer } from '../../src/endpoint/tcp.ts';
import { withCronPeriodMs, withMaxPackageBytes } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import type { TaskPool } from '../../src/session/task-pool.ts';
import type { Connection, ConnectionSink } from '../../src/transport/connection.ts';

/** One call of each public member of a class; the compiler misses none. */
type Calls<Subject> = { readonly [Name in keyof Subject]: (subject: Subject) => unknown };

const bytes = Buffer.from('bytes\n');
const nothing = (): void => {};

export const SESSION_CALLS: Calls<Session<string>> = {
  id: (session) => session.id,
  name: (session) => session.name,
  state: (session) => session.state,
  isClosed: (session) => session.isClosed,
  hasEnded: (session) => session.hasEnded,
  hasPeerEnded: (session) => session.hasPeerEnded,
  localAddress: (session) => session.localAddress.text,
  remoteAddress: (session) => session.remoteAddress.text,
  endPoint: (session) => session.endPoint.id,
  connection: (session) => session.connection.kind,
  wheel: (session) => session.wheel.now(),
  logger: (session) => typeof session.logger.warn,
  attributes: (session) => session.attributes.set('key', 'value'),
  lastActiveMs: (session) => session.lastActiveMs,
  lastActive: (session) => session.lastActive,
  touch: (session) => session.touch(),
  stats: (session) => session.stats().toString(),
  configure: (session) => session.configure(withCronPeriodMs(40), withMaxPackageBytes(10_000)),
  settings: (session) => session.settings.sessionName,
  pendingBytes: (session) => session.pendingBytes,
  isWritable: (session) => session.isWritable,
  send: (session) => session.send('sent'),
  writePkg: (session) => session.writePkg('written', { timeoutMs: 1_000 }),
  writeBytes: (session) => session.writeBytes(bytes),
  writeBytesArray: (session) => session.writeBytesArray([bytes, bytes]),
  sendEncoded: (session) => session.sendEncoded(bytes),
  drained: (session) => session.drained(),
  pause: (session) => session.pause(),
  resume: (session) => session.resume(),
  delay: (session) => session.delay(5),
  [Symbol.asyncIterator]: (session) => iterateOnce(session),
  signal: (session) => session.signal.aborted,
  closed: (session) => session.closed,
  end: (session) => session.end(),
  close: (session) => session.close({ drainTimeoutMs: 30, code: 'AUTH', reason: 'told to', afterHandlers: session.id % 2 === 0 }),
  fail: (session) => session.fail(new PeerError('RATE_EXCEEDED', 'told to', { status: 1008 })),
  destroy: (session) => session.destroy(session.id % 2 === 0 ? new Error('told to') : undefined),
  [Symbol.asyncDispose]: (session) => session[Symbol.asyncDispose](),
  addCloseCallback: (session) => session.addCloseCallback('calls', {}, () => nextTurn()),
  removeCloseCallback: (session) => session.removeCloseCallback('calls', 'absent'),
  closeCallbackCount: (session) => session.closeCallbackCount,
  toString: (session) => session.toString(),
  // For endpoints only, once; afterwards it does nothing.
  start: (session) => (session.state === 'closed' ? session.start(nothing) : undefined),
};

async function iterateOnce(session: Session<string>): Promise<void> {
  const iterator = session[Symbol.asyncIterator]();
  try {
    await iterator.next();
  } catch (thrown) {
    // What ended the session is thrown into the loop.
    if (!(thrown instanceof PorticoError)) throw thrown;
  }
  await iterator.return?.();
}

export const SERVER_CALLS: Calls<TcpServer<string>> = {
  id: (server) => server.id,
  type: (server) => server.type,
  isClosed: (server) => server.isClosed,
  sessions: (server) => server.sessions.size,
  on: (server) => server.on('session', nothing),
  once: (server) => server.once('close', nothing),
  off: (server) => server.off('session', nothing),
  broadcast: (server) => server.broadcast('to all'),
  stats: (server) => server.stats(),
  close: (server) => server.close({ drainTimeoutMs: 30 }),
  localAddress: (server) => server.localAddress,
  raw: (server) => typeof server.raw,
  listen: (server) => server.listen(),
  stopAccepting: (server) => server.stopAccepting(),
  reloadTls: (server) => server.reloadTls?.(),
  [Symbol.asyncDispose]: (server) => server[Symbol.asyncDispose](),
};

export const CLIENT_CALLS: Calls<TcpClient<string>> = {
  id: (client) => client.id,
  type: (client) => client.type,
  isClosed: (client) => client.isClosed,
  sessions: (client) => client.sessions.size,
  on: (client) => client.on('gaveUp', nothing),
  once: (client) => client.once('error', nothing),
  off: (client) => client.off('gaveUp', nothing),
  broadcast: (client) => client.broadcast('to all'),
  stats: (client) => client.stats(),
  close: (client) => client.close(),
  connect: (client) => client.connect(),
  ready: (client) => client.ready,
  pick: (client) => client.pick('least-pending'),
  send: (client) => client.send('sent'),
  [Symbol.asyncDispose]: (client) => client[Symbol.asyncDispose](),
};

export const POOL_CALLS: Calls<TaskPool> = {
  overflow: (pool) => pool.overflow,
  refused: (pool) => pool.refused,
  timedOut: (pool) => pool.timedOut,
  running: (pool) => pool.running,
  queued: (pool) => pool.queued,
  isClosed: (pool) => pool.isClosed,
  isFull: (pool) => pool.isFull,
  run: (pool) => pool.run(() => nextTurn(), { key: 'calls' }),
  whenRoom: (pool) => pool.whenRoom(),
  close: (pool) => pool.close({ drainTimeoutMs: 30 }),
};

const sink: ConnectionSink = {
  onBytes: nothing,
  onDrain: nothing,
  onEnd: nothing,
  onBlocked: nothing,
  onFinished: nothing,
  onClose: nothing,
  onOverflow: nothing,
};
const limits = { lowWaterMarkBytes: 1, highWaterMarkBytes: 2, maxQueueBytes: 3, overflowPolicy: 'close' } as const;
const receipt = { onSent: nothing, onUnsent: nothing };

/** For connections that have ended: a program has no business with them before. */
export const CONNECTION_CALLS: Calls<Connection> = {
  kind: (connection) => connection.kind,
  isDatagram: (connection) => connection.isDatagram,
  attributes: (connection) => connection.attributes,
  localAddress: (connection) => connection.localAddress.text,
  remoteAddress: (connection) => connection.remoteAddress.text,
  tls: (connection) => connection.tls,
  roundTripMs: (connection) => connection.roundTripMs,
  raw: (connection) => typeof connection.raw,
  bytesRead: (connection) => connection.bytesRead,
  bytesWritten: (connection) => connection.bytesWritten,
  writes: (connection) => connection.writes,
  droppedPackages: (connection) => connection.droppedPackages,
  lostPackages: (connection) => connection.lostPackages,
  isDrainExpected: (connection) => connection.isDrainExpected,
  readPath: (connection) => connection.readPath,
  open: (connection) => connection.open(sink, limits),
  limitSending: (connection) => connection.limitSending(limits),
  pendingBytes: (connection) => connection.pendingBytes,
  stalledBytes: (connection) => connection.stalledBytes,
  beginPackage: (connection) => sendOn(connection, false),
  endPackage: (connection) => sendOn(connection, true),
  cancelPackage: (connection) => connection.cancelPackage(),
  sendShared: (connection) => connection.sendShared(bytes, receipt),
  unsend: (connection) => connection.unsend(receipt),
  flush: (connection) => connection.flush(),
  pause: (connection) => connection.pause(),
  resume: (connection) => connection.resume(),
  end: (connection) => connection.end(),
  close: (connection) => connection.close(),
  abort: (connection) => connection.abort(),
};

function sendOn(connection: Connection, isSent: boolean): unknown {
  connection.beginPackage().writeBytes(bytes);
  return isSent ? connection.endPackage(receipt) : connection.cancelPackage();
}

/** The calls by name; symbols too. */
export function callsOf<Subject>(calls: Calls<Subject>): { readonly name: string; readonly call: (subject: Subject) => unknown }[] {
  return Reflect.ownKeys(calls).map((key) => ({ name: String(key), call: calls[key as keyof Subject] }));
}
