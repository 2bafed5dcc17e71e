import { describeThrown, PeerError, type PorticoError, StateError } from '../base/errors.ts';
import { oneLine } from '../base/log.ts';
import { checkFunction } from '../base/option.ts';
import { after } from '../base/wheel.ts';
import type { CloseReason } from '../session/close-reason.ts';
import { EventListener } from '../session/event-listener.ts';
import type { Session } from '../session/session.ts';
import { checkRpcOptions } from './rpc-limits.ts';
import { RpcMethods, type RpcProtocol } from './rpc-methods.ts';
import { RpcPeer } from './rpc-peer.ts';
import type { RpcAnswer, RpcHandler, RpcName, RpcPeerOptions, RpcSpec, RpcTransport } from './rpc-types.ts';

export interface RpcListenerOptions<Local extends RpcSpec = RpcSpec, Remote extends RpcSpec = RpcSpec>
  extends Omit<RpcPeerOptions, 'cost' | 'onError'> {
  /** Told what handlers threw that is no RpcError, and results that JSON cannot say. Default: the endpoint's logger. */
  readonly onError?: NonNullable<RpcPeerOptions['onError']>;
  /** The protocol of the methods here: their types, and the schemas of their params. */
  readonly protocol?: RpcProtocol<Local>;
  /** That of the methods of the other side; only its types count. */
  readonly remote?: RpcProtocol<Remote>;
  /** Methods shared with other listeners. Default: a set of this listener's own. */
  readonly methods?: RpcMethods<Local>;
  /** As `RpcPeerOptions.cost`, and says who pays. */
  readonly cost?: (units: number, session: Session<string>) => boolean;
  /** A session has opened; its peer may be called from here on. */
  readonly onPeer?: (peer: RpcPeer<Local, Remote>, session: Session<string>) => void | Promise<void>;
  /** Told of failures of the session, after the listener has seen to them. Default: the endpoint's logger. */
  readonly onSessionError?: (session: Session<string>, error: PorticoError) => void;
  /** The session has ended; its peer is closed. */
  readonly onPeerClose?: (peer: RpcPeer<Local, Remote>, session: Session<string>, reason: CloseReason) => void | Promise<void>;
}

/**
 * JSON-RPC 2.0 on sessions whose packages are text: over WebSocket with RpcMessageHandler, over TCP with RpcLineHandler or
 * ContentLengthHandler. Both sides may call. One listener serves all sessions of an endpoint, each through a peer of its own.
 *
 * Handlers of one session begin in the order of the calls and run beside each other when they wait. While the answers that this side
 * has to send are above the session's high-water mark, further calls wait: unread, or when this side has calls of its own under way,
 * up to `maxRunningCalls` of them, beyond which they are answered with -32005.
 */
export class RpcListener<Local extends RpcSpec = RpcSpec, Remote extends RpcSpec = RpcSpec> extends EventListener<string> {
  readonly methods: RpcMethods<Local>;
  readonly #options: RpcListenerOptions<Local, Remote>;
  readonly #peers = new Map<Session<string>, RpcPeer<Local, Remote>>();

  /** Throws ConfigError INVALID_OPTION. */
  constructor(options: RpcListenerOptions<Local, Remote> = {}) {
    super();
    const { cost, ...others } = options;
    checkRpcOptions(others);
    if (cost !== undefined) checkFunction('cost', cost);
    this.#options = options;
    this.methods = options.methods ?? new RpcMethods(options.protocol);
  }

  /** As `RpcMethods.method`, at any time. */
  method<Name extends RpcName<Local>>(name: Name, handler: RpcHandler<Local[Name]['params'], RpcAnswer<Local[Name]>>): this {
    this.methods.method(name, handler);
    return this;
  }

  /** The peer at the other end of an open session; undefined before it has opened and after it has closed. */
  peerOf(session: Session<string>): RpcPeer<Local, Remote> | undefined {
    return this.#peers.get(session);
  }

  /** The peers of all open sessions. */
  peers(): IterableIterator<RpcPeer<Local, Remote>> {
    return this.#peers.values();
  }

  override onOpen(session: Session<string>): void | Promise<void> {
    const { cost, onPeer, protocol, ...others } = this.#options;
    const options: RpcPeerOptions = {
      onError: (error, { method }) =>
        session.logger.error(`session ${session.id}: ${oneLine(method)} failed: ${oneLine(describeThrown(error))}`),
      ...others,
      ...(cost === undefined ? {} : { cost: (units) => cost(units, session) }),
    };
    const parts = { session, methods: this.methods, ...(protocol === undefined ? {} : { protocol }) };
    const peer = new RpcPeer<Local, Remote>(transportOf(session), options, parts);
    this.#peers.set(session, peer);
    return onPeer?.(peer, session);
  }

  onMessage(session: Session<string>, text: string): void | Promise<void> {
    const peer = this.#peers.get(session);
    if (peer === undefined) return;
    const { requests } = peer.counters;
    peer.receive(text);
    // Who asks faster than it takes the answers has to wait; but two that wait for each other would wait for ever. So it is only while
    // this side asks nothing itself that it does not read: otherwise the peer holds calls back, and takes answers.
    if (peer.counters.requests === requests || peer.pendingCalls > 0 || !isFull(session)) return;
    return session.drained().catch(() => {});
  }

  override onError(session: Session<string>, error: PorticoError): void {
    if (error instanceof PeerError && error.recoverable && error.code === 'MALFORMED_PACKAGE') {
      this.#peers.get(session)?.receiveMalformed();
    }
    const { onSessionError } = this.#options;
    if (onSessionError === undefined) session.logger.warn(`session ${session.id}: ${error.code}: ${oneLine(error.message)}`);
    else onSessionError(session, error);
  }

  override onClose(session: Session<string>, reason: CloseReason): void | Promise<void> {
    const peer = this.#peers.get(session);
    if (peer === undefined) return;
    this.#peers.delete(session);
    peer.close(reason.error);
    return this.#options.onPeerClose?.(peer, session, reason);
  }
}

function transportOf(session: Session<string>): RpcTransport {
  const { wheel } = session;
  return {
    send(text) {
      if (!session.send(text) && session.hasEnded) throw new StateError('SESSION_CLOSED', 'the session is closing or closed');
    },
    now: () => wheel.now(),
    after: (delayMs, callback) => after(wheel, delayMs, callback),
    isFull: () => isFull(session),
    drained: () => session.drained(),
  };
}

function isFull({ pendingBytes, settings }: Session<string>): boolean {
  return pendingBytes > settings.highWaterMarkBytes;
}
