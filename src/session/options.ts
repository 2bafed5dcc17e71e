import {
  applyOptions,
  checkBoolean,
  checkFunction,
  checkInteger,
  checkMethods,
  checkMs,
  checkOneOf,
  checkString,
  invalid,
  type Option,
} from '../base/option.ts';
import type { PkgReader, PkgWriter } from '../codec/pkg-handler.ts';
import type { OverflowPolicy, SendLimits } from '../transport/connection.ts';
import type { EventListenerLike } from './event-listener.ts';
import type { Session } from './session.ts';
import type { TaskPool } from './task-pool.ts';

/** How to find out that a silent peer is gone. */
export interface Heartbeat<In = unknown, Out = unknown> {
  /** How often `ping` is asked for a package to send. */
  readonly intervalMs: number;
  /** Close with HEARTBEAT when nothing was received for this long. More than `intervalMs`. */
  readonly timeoutMs: number;
  /** The package to send; undefined sends nothing, which leaves only the listening half. */
  readonly ping?: (session: Session<In, Out>) => Out | undefined;
}

/** Everything about a session that can be set: per endpoint, and for one session through `session.configure`. */
export interface SessionOptions<In, Out> extends SendLimits {
  readonly reader: PkgReader<In> | undefined;
  readonly writer: PkgWriter<Out> | undefined;
  readonly listener: EventListenerLike<In, Out> | undefined;
  readonly sessionName: string;
  readonly maxPackageBytes: number;
  readonly cronPeriodMs: number;
  readonly readTimeoutMs: number;
  readonly writeTimeoutMs: number;
  readonly readerIdleMs: number;
  readonly writerIdleMs: number;
  readonly idleTimeoutMs: number;
  readonly heartbeat: Heartbeat<In, Out> | undefined;
  readonly drainTimeoutMs: number;
  readonly openTimeoutMs: number;
  readonly concurrentMessages: number;
  readonly taskPool: TaskPool | undefined;
  readonly listenerErrorPolicy: 'close' | 'continue';
  readonly halfOpen: boolean;
}

/** Options of which nothing depends on the types of packages yet, so that they fit any. */
export type Defaults<Options> = Omit<Options, 'reader' | 'writer' | 'listener' | 'heartbeat'> & {
  readonly reader: undefined;
  readonly writer: undefined;
  readonly listener: undefined;
  readonly heartbeat: undefined;
};

export const SESSION_DEFAULTS: Defaults<SessionOptions<never, never>> = {
  reader: undefined,
  writer: undefined,
  listener: undefined,
  sessionName: 'session',
  maxPackageBytes: 1_048_576,
  cronPeriodMs: 60_000,
  readTimeoutMs: 10_000,
  writeTimeoutMs: 30_000,
  readerIdleMs: 0,
  writerIdleMs: 0,
  idleTimeoutMs: 0,
  heartbeat: undefined,
  drainTimeoutMs: 3_000,
  openTimeoutMs: 10_000,
  lowWaterMarkBytes: 65_536,
  highWaterMarkBytes: 262_144,
  maxQueueBytes: 4_194_304,
  overflowPolicy: 'close',
  concurrentMessages: 1,
  taskPool: undefined,
  listenerErrorPolicy: 'close',
  halfOpen: false,
};

/** Applies options to a copy and checks what only holds between several of them. */
export function buildSessionOptions<T extends SendLimits>(defaults: T, options: readonly Option<T>[]): T {
  const built = applyOptions(defaults, options);
  const { lowWaterMarkBytes: low, highWaterMarkBytes: high, maxQueueBytes: max } = built;
  if (low > high || high > max) {
    throw invalid('withWaterMarks and withSendQueue', 'lowBytes <= highBytes <= maxBytes', `${low}, ${high}, ${max}`);
  }
  return built;
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };
/** An option for one or more fields of the session. */
type SessionOption<In, Out, Field extends keyof SessionOptions<In, Out>> = Option<Pick<Writable<SessionOptions<In, Out>>, Field>>;
type Plain<Field extends keyof SessionOptions<never, never>> = SessionOption<never, never, Field>;

/** Found out here, where it costs nothing: a promise for a package would be one more thing to look for in every package. */
function checkSynchronous(name: string, handler: object, methods: readonly string[]): void {
  for (const method of methods) {
    if (Object.prototype.toString.call(Reflect.get(handler, method)) === '[object AsyncFunction]') {
      throw invalid(name, `a synchronous ${method}`, 'an async one');
    }
  }
}

/** The framing, both halves. Required, unless `withReader` and `withWriter` are given. */
export function withPkgHandler<In, Out>(handler: PkgReader<In> & PkgWriter<Out>): SessionOption<In, Out, 'reader' | 'writer'> {
  checkMethods('withPkgHandler', handler, ['read', 'write']);
  checkSynchronous('withPkgHandler', handler, ['read', 'readEnd', 'write']);
  return (options) => {
    options.reader = handler;
    options.writer = handler;
  };
}

/** Only the receiving half of the framing. */
export function withReader<In, Out = never>(reader: PkgReader<In>): SessionOption<In, Out, 'reader'> {
  checkMethods('withReader', reader, ['read']);
  checkSynchronous('withReader', reader, ['read', 'readEnd']);
  return (options) => {
    options.reader = reader;
  };
}

/** Only the sending half of the framing. */
export function withWriter<Out, In = never>(writer: PkgWriter<Out>): SessionOption<In, Out, 'writer'> {
  checkMethods('withWriter', writer, ['write']);
  checkSynchronous('withWriter', writer, ['write']);
  return (options) => {
    options.writer = writer;
  };
}

/** Who gets the events: an EventListener or an object of its shape. Required. */
export function withEventListener<In, Out>(listener: EventListenerLike<In, Out>): SessionOption<In, Out, 'listener'> {
  checkMethods('withEventListener', listener, ['onMessage']);
  for (const name of ['onOpen', 'onCron', 'onDrain', 'onEnd', 'onError', 'onClose'] as const) {
    if (listener[name] !== undefined) checkFunction(`withEventListener ${name}`, listener[name]);
  }
  return (options) => {
    options.listener = listener;
  };
}

/** A name for logs and statistics, 1 to 256 bytes. Default: the kind of endpoint, such as 'tcp-session'. */
export function withSessionName(name: string): Plain<'sessionName'> {
  checkString('withSessionName', name, 256);
  return (options) => {
    options.sessionName = name;
  };
}

/**
 * The largest package, as it stands on the wire, in bytes; checked when reading and when writing. Default 1 MiB; 0 = no limit,
 * which lets a peer make this process run out of memory.
 */
export function withMaxPackageBytes(bytes: number): Plain<'maxPackageBytes'> {
  checkInteger('withMaxPackageBytes', bytes, 0);
  return (options) => {
    options.maxPackageBytes = bytes;
  };
}

/** How often `onCron` is called. Default 60 000. */
export function withCronPeriodMs(periodMs: number): Plain<'cronPeriodMs'> {
  checkMs('withCronPeriodMs', periodMs);
  return (options) => {
    options.cronPeriodMs = periodMs;
  };
}

/** A package that has begun must be complete within this time, else the session closes (TIMEOUT). Default 10 000; 0 = off. */
export function withReadTimeoutMs(timeoutMs: number): Plain<'readTimeoutMs'> {
  checkMs('withReadTimeoutMs', timeoutMs, 0);
  return (options) => {
    options.readTimeoutMs = timeoutMs;
  };
}

/** When bytes wait and the peer takes none of them for this long, the session closes (SLOW). Default 30 000; 0 = off. */
export function withWriteTimeoutMs(timeoutMs: number): Plain<'writeTimeoutMs'> {
  checkMs('withWriteTimeoutMs', timeoutMs, 0);
  return (options) => {
    options.writeTimeoutMs = timeoutMs;
  };
}

/** Close (IDLE) when no package was received for this long. Default 0 = off. */
export function withReaderIdleMs(timeoutMs: number): Plain<'readerIdleMs'> {
  checkMs('withReaderIdleMs', timeoutMs, 0);
  return (options) => {
    options.readerIdleMs = timeoutMs;
  };
}

/** Close (IDLE) when nothing was sent for this long. Default 0 = off. */
export function withWriterIdleMs(timeoutMs: number): Plain<'writerIdleMs'> {
  checkMs('withWriterIdleMs', timeoutMs, 0);
  return (options) => {
    options.writerIdleMs = timeoutMs;
  };
}

/** Close (IDLE) when neither a package was received nor anything sent for this long. Default 0 = off. */
export function withIdleTimeoutMs(timeoutMs: number): Plain<'idleTimeoutMs'> {
  checkMs('withIdleTimeoutMs', timeoutMs, 0);
  return (options) => {
    options.idleTimeoutMs = timeoutMs;
  };
}

/**
 * What `withHeartbeat` writes. A `ping` that does not look at its session fits sessions of all packages, one that sends nothing those
 * that send any: without this, whether that compiles depends on what the compiler has looked at before.
 */
type HeartbeatOption<In, Out> = Option<{
  heartbeat:
    | (Pick<Heartbeat, 'intervalMs' | 'timeoutMs'> & {
        readonly ping?: (session: unknown extends In ? never : Session<In, Out>) => [Out] extends [undefined] ? unknown : Out | undefined;
      })
    | undefined;
}>;

/** Ping a silent peer, and close (HEARTBEAT) one that stays silent. Default: none. */
export function withHeartbeat<In, Out>(heartbeat: Heartbeat<In, Out>): HeartbeatOption<In, Out> {
  if (typeof heartbeat !== 'object' || heartbeat === null)
    throw invalid('withHeartbeat', 'an object with intervalMs and timeoutMs', heartbeat);
  const { intervalMs, timeoutMs, ping } = heartbeat;
  checkMs('withHeartbeat intervalMs', intervalMs);
  checkMs('withHeartbeat timeoutMs', timeoutMs);
  if (timeoutMs <= intervalMs) throw invalid('withHeartbeat timeoutMs', `more than intervalMs (${intervalMs})`, timeoutMs);
  if (ping !== undefined) checkFunction('withHeartbeat ping', ping);
  return (options: { heartbeat: unknown }) => {
    options.heartbeat = heartbeat;
  };
}

/**
 * How long a closing session may take to send what is queued, to let a running handler finish, and to wait for the peer's end.
 * Default 3 000; 0 = close at once. `close()` can give another value.
 */
export function withDrainTimeoutMs(timeoutMs: number): Plain<'drainTimeoutMs'> {
  checkMs('withDrainTimeoutMs', timeoutMs, 0);
  return (options) => {
    options.drainTimeoutMs = timeoutMs;
  };
}

/**
 * `newSession` must have settled within this time, else the connection is closed; until then it counts as a session and is not
 * read. Default 10 000; 0 = off.
 */
export function withOpenTimeoutMs(timeoutMs: number): Plain<'openTimeoutMs'> {
  checkMs('withOpenTimeoutMs', timeoutMs, 0);
  return (options) => {
    options.openTimeoutMs = timeoutMs;
  };
}

/**
 * Above `highBytes` waiting to be sent, `send` returns false; back at `lowBytes`, `drained()` resolves and `onDrain` is called.
 * Defaults 65 536 and 262 144.
 */
export function withWaterMarks(lowBytes: number, highBytes: number): Plain<'lowWaterMarkBytes' | 'highWaterMarkBytes'> {
  checkInteger('withWaterMarks lowBytes', lowBytes, 0);
  checkInteger('withWaterMarks highBytes', highBytes, 1);
  return (options) => {
    options.lowWaterMarkBytes = lowBytes;
    options.highWaterMarkBytes = highBytes;
  };
}

/**
 * The hard cap on bytes waiting to be sent, and what happens to the package that would go over it: 'close' the session (SLOW),
 * 'reject' it (send throws SEND_QUEUE_FULL), 'drop-oldest' whole packages until it fits, or 'drop-newest', this one. Dropped
 * packages are counted, and their `writePkg` rejects. Defaults 4 MiB, 'close'.
 */
export function withSendQueue(maxBytes: number, policy: OverflowPolicy = 'close'): Plain<'maxQueueBytes' | 'overflowPolicy'> {
  checkInteger('withSendQueue maxBytes', maxBytes, 1);
  checkOneOf('withSendQueue policy', policy, ['close', 'reject', 'drop-oldest', 'drop-newest']);
  return (options) => {
    options.maxQueueBytes = maxBytes;
    options.overflowPolicy = policy;
  };
}

/**
 * How many packages of one session may be handled at a time. Default 1, which keeps them in order; any more gives the order
 * up, also that of the replies.
 */
export function withConcurrentMessages(count: number): Plain<'concurrentMessages'> {
  checkInteger('withConcurrentMessages', count, 1, 65_536);
  return (options) => {
    options.concurrentMessages = count;
  };
}

/** Run `onMessage` in this pool, which bounds how many sessions are served at a time. Default: none, run where it is decoded. */
export function withTaskPool(pool: TaskPool): Plain<'taskPool'> {
  checkMethods('withTaskPool', pool, ['run', 'close']);
  return (options) => {
    options.taskPool = pool;
  };
}

/** Whether a session goes on after its listener threw or rejected. Default 'close' (INTERNAL). */
export function withListenerErrorPolicy(policy: 'close' | 'continue'): Plain<'listenerErrorPolicy'> {
  checkOneOf('withListenerErrorPolicy', policy, ['close', 'continue']);
  return (options) => {
    options.listenerErrorPolicy = policy;
  };
}

/**
 * `true`: the session stays open for sending after the peer has finished (`onEnd` tells), until it is closed here. Default
 * false: replies to what the peer has sent still go out, then the session closes.
 */
export function withHalfOpen(halfOpen: boolean): Plain<'halfOpen'> {
  checkBoolean('withHalfOpen', halfOpen);
  return (options) => {
    options.halfOpen = halfOpen;
  };
}
