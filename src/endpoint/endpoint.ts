import { publish } from '../base/diagnostics.ts';
import { Emitter, type EventMap } from '../base/emitter.ts';
import { PorticoError, StateError } from '../base/errors.ts';
import { log } from '../base/log.ts';
import { checkMs } from '../base/option.ts';
import { after, type Wheel, wheelOf } from '../base/wheel.ts';
import type { PkgWriter } from '../codec/pkg-handler.ts';
import type { CloseReason } from '../session/close-reason.ts';
import { type EncodedPackage, tooLarge, tryToEncode } from '../session/outbound.ts';
import type { Session } from '../session/session.ts';
import type { BroadcastResult, EndPointType, SessionEndPoint, SessionHost } from '../session/session-host.ts';
import type { EndPointOptions } from './options.ts';

/** What became of the sessions when an endpoint closed. */
export interface CloseReport {
  readonly sessions: number;
  /** Sessions that had sent everything. */
  readonly flushed: number;
  /** Those that had not, and how much of theirs was lost. */
  readonly unflushed: readonly { readonly id: number; readonly remoteAddress: string; readonly unsentBytes: number }[];
}

export interface EndPointCloseOptions {
  /** How long sessions may take to finish their handlers and to send what is queued. Default: `withDrainTimeoutMs`. */
  readonly drainTimeoutMs?: number;
  /** For the sessions' CloseReason. */
  readonly reason?: string;
}

/** Totals over the life of an endpoint; bytes and packages are those of the sessions that have closed and that are open. */
export interface EndPointStats {
  readonly openSessions: number;
  readonly totalSessions: number;
  readonly refusedConnections: number;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly packagesRead: number;
  readonly packagesWritten: number;
  readonly packagesDropped: number;
  /** How sockets are read; 'none' before the first session. */
  readonly readPath: 'static' | 'chunk' | 'none';
}

/** Events that every endpoint has. */
export interface EndPointEvents<In, Out> extends EventMap {
  /** A session has opened. */
  session: readonly [session: Session<In, Out>];
  /** A session is over, its close callbacks included. */
  sessionClosed: readonly [session: Session<In, Out>, reason: CloseReason];
  /** Something failed that belongs to no session. */
  error: readonly [error: PorticoError];
  close: readonly [report: CloseReport];
}

let lastEndPointId = 0;

/**
 * CONTRACT. An endpoint: a server or a client, and the sessions that it has. It
 * - MUST give every session an `onOpen` before and an `onClose` after everything else, and forget it after that;
 * - MUST end all its sessions when it closes, and settle `close()` only when the last one is over;
 * - MUST be safe to call at any time; a closed endpoint stays closed.
 */
export abstract class EndPoint<In, Out, Events extends EndPointEvents<In, Out>> implements SessionEndPoint<In, Out>, AsyncDisposable {
  readonly id: number = ++lastEndPointId;
  readonly type: EndPointType;
  protected readonly options: EndPointOptions<In, Out>;
  protected readonly wheel: Wheel;
  protected readonly emitter: Emitter<Events>;
  protected readonly host: SessionHost<In, Out>;
  readonly #sessions = new Map<number, Session<In, Out>>();
  /** Sessions that were made and are not open yet, or never will be. */
  readonly #unopened = new Set<Session<In, Out>>();
  readonly #past = { bytesRead: 0, bytesWritten: 0, packagesRead: 0, packagesWritten: 0, packagesDropped: 0 };
  #totalSessions = 0;
  #readPath: EndPointStats['readPath'] = 'none';
  #closing: Promise<CloseReport> | undefined;

  protected constructor(type: EndPointType, options: EndPointOptions<In, Out>) {
    this.type = type;
    this.options = options;
    this.wheel = wheelOf(options.clock);
    this.emitter = new Emitter(options.logger);
    this.host = {
      endPoint: this,
      wheel: this.wheel,
      logger: options.logger,
      onSessionOpen: (session) => this.#onSessionOpen(session),
      onSessionClosed: (session, reason) => this.#onSessionClosed(session, reason),
    };
  }

  get isClosed(): boolean {
    return this.#closing !== undefined;
  }

  /**
   * The sessions by id, from `onOpen` until everything about them is over: one that is closing stays until its close callbacks have
   * run, so that whoever looks it up there finds it. `session.isClosed` tells; `broadcast` and `pick` leave it out.
   */
  get sessions(): ReadonlyMap<number, Session<In, Out>> {
    return this.#sessions;
  }

  on<Name extends keyof Events & string>(name: Name, listener: (...args: Events[Name]) => void): this {
    this.emitter.on(name, listener);
    return this;
  }

  once<Name extends keyof Events & string>(name: Name, listener: (...args: Events[Name]) => void): this {
    this.emitter.once(name, listener);
    return this;
  }

  off<Name extends keyof Events & string>(name: Name, listener: (...args: Events[Name]) => void): this {
    this.emitter.off(name, listener);
    return this;
  }

  /**
   * Sends one package to all open sessions, or to those that `filter` picks. It is encoded once for all sessions with the same
   * PkgHandler, and its bytes are shared. A session that is slow, closes or refuses does not touch the others; one for which the
   * package cannot be encoded, or is too large, is counted as refused. Throws NO_PACKAGE, and ENCODE_FAILED or ENCODED_TOO_LARGE when
   * that is so for all of them; then nobody got it.
   */
  broadcast(pkg: Out, filter?: (session: Session<In, Out>) => boolean): BroadcastResult {
    if (pkg === undefined || pkg === null) throw new StateError('NO_PACKAGE', `broadcast: expected a package, given ${pkg}`);
    const encoded = new Map<PkgWriter<Out>, EncodedPackage | PorticoError>();
    let [sent, full, refused, unfit] = [0, 0, 0, 0];
    let failure: PorticoError | undefined;
    let lastWriter: PkgWriter<Out> | undefined;
    let last: EncodedPackage | PorticoError | undefined;
    for (const session of [...this.#sessions.values()]) {
      const { writer } = session.settings;
      if (session.isClosed || writer === undefined || (filter !== undefined && !filter(session))) continue;
      if (last === undefined || writer !== lastWriter) {
        last = encodeOnce(encoded, writer, session, pkg);
        lastWriter = writer;
      }
      const own = fitting(last, session);
      if (own instanceof PorticoError) {
        failure = own;
        unfit++;
        continue;
      }
      const before = session.connection.lostPackages;
      try {
        const isBelowMark = session.sendEncoded(own.bytes, own.isText);
        if (session.hasEnded || session.connection.lostPackages > before) refused++;
        else {
          sent++;
          if (!isBelowMark) full++;
        }
      } catch (thrown) {
        if (!(thrown instanceof StateError)) throw thrown;
        refused++;
      }
    }
    if (failure !== undefined && sent + refused === 0) throw failure;
    return { sent, full, refused: refused + unfit };
  }

  stats(): EndPointStats {
    const totals = { ...this.#past };
    for (const session of this.#allSessions()) addTotals(totals, session);
    return {
      openSessions: this.#sessions.size,
      totalSessions: this.#totalSessions,
      refusedConnections: this.refusedConnections,
      ...totals,
      readPath: this.#readPath,
    };
  }

  /**
   * Closes in order: no new connections, running handlers may finish and reply, what is queued is sent, then all sessions end
   * (GOING_AWAY). Resolves with what was flushed and what was not. Any number of calls is one close. A handler of one of its sessions
   * must not wait for it: the handler would be waited for in turn, until the drain time-out.
   */
  close(options: EndPointCloseOptions = {}): Promise<CloseReport> {
    const { drainTimeoutMs = this.options.drainTimeoutMs, reason = 'the endpoint is closing' } = options;
    checkMs('close drainTimeoutMs', drainTimeoutMs, 0);
    this.#closing ??= this.#close(drainTimeoutMs, reason);
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // --- for servers and clients ---

  protected get refusedConnections(): number {
    return 0;
  }

  /** Stops what makes new sessions. Called once, at the beginning of close. */
  protected abstract stop(): Promise<void>;

  /** A session was made; from now on it is waited for. */
  protected track(session: Session<In, Out>): void {
    this.#unopened.add(session);
    this.#totalSessions++;
  }

  protected sessionOver(_session: Session<In, Out>): void {}

  // --- private ---

  #allSessions(): Session<In, Out>[] {
    return [...this.#sessions.values(), ...this.#unopened];
  }

  #onSessionOpen(session: Session<In, Out>): void {
    this.#unopened.delete(session);
    this.#sessions.set(session.id, session);
    this.#readPath = session.connection.readPath;
    this.emit('session', session);
  }

  #onSessionClosed(session: Session<In, Out>, reason: CloseReason): void {
    this.#sessions.delete(session.id);
    this.#unopened.delete(session);
    addTotals(this.#past, session);
    this.sessionOver(session);
    this.emit('sessionClosed', session, reason);
  }

  /** Emits an event that every endpoint has. */
  protected emit<Name extends keyof EndPointEvents<In, Out> & string>(name: Name, ...args: EndPointEvents<In, Out>[Name]): void {
    (this.emitter as unknown as Emitter<EndPointEvents<In, Out>>).emit(name, ...args);
  }

  async #close(drainTimeoutMs: number, reason: string): Promise<CloseReport> {
    await this.stop();
    const unflushed: { id: number; remoteAddress: string; unsentBytes: number }[] = [];
    const sessions = this.#allSessions();
    await Promise.all(
      sessions.map(async (session) => {
        // One that is closing already has a time-out of its own; this one ends it.
        const cancel = session.isClosed ? after(this.wheel, drainTimeoutMs, () => session.destroy()) : undefined;
        void session.close({ drainTimeoutMs, code: 'GOING_AWAY', reason, afterHandlers: true });
        const end = await session.closed;
        cancel?.();
        if (end.unsentBytes > 0)
          unflushed.push({ id: session.id, remoteAddress: session.remoteAddress.text, unsentBytes: end.unsentBytes });
      }),
    );
    const report: CloseReport = { sessions: sessions.length, flushed: sessions.length - unflushed.length, unflushed };
    publish('endpointClose', () => ({ endPoint: this, report }));
    if (log.endpoint.enabled) log.endpoint('%s %d closed: %d of %d flushed', this.type, this.id, report.flushed, report.sessions);
    this.emit('close', report);
    return report;
  }
}

/** The package as this writer makes it, or why it cannot. */
function encodeOnce<In, Out>(
  encoded: Map<PkgWriter<Out>, EncodedPackage | PorticoError>,
  writer: PkgWriter<Out>,
  session: Session<In, Out>,
  pkg: Out,
): EncodedPackage | PorticoError {
  const own = encoded.get(writer) ?? tryToEncode(writer, session, pkg);
  encoded.set(writer, own);
  return own;
}

/** The package, if this session may send one so large. */
function fitting<In, Out>(encoded: EncodedPackage | PorticoError, session: Session<In, Out>): EncodedPackage | PorticoError {
  const { maxPackageBytes } = session.settings;
  if (encoded instanceof PorticoError || maxPackageBytes === 0 || encoded.bytes.length <= maxPackageBytes) return encoded;
  return tooLarge(session, encoded.bytes.length, maxPackageBytes);
}

type Totals = { bytesRead: number; bytesWritten: number; packagesRead: number; packagesWritten: number; packagesDropped: number };

function addTotals<In, Out>(totals: Totals, session: Session<In, Out>): void {
  const stats = session.stats();
  totals.bytesRead += stats.bytesRead;
  totals.bytesWritten += stats.bytesWritten;
  totals.packagesRead += stats.packagesRead;
  totals.packagesWritten += stats.packagesWritten;
  totals.packagesDropped += stats.packagesDropped;
}
