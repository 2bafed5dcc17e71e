import { publish } from '../base/diagnostics.ts';
import { PeerError, type PorticoError, StateError } from '../base/errors.ts';
import type { Option } from '../base/option.ts';
import { after } from '../base/wheel.ts';
import { buildSessionOptions } from '../session/options.ts';
import { Session } from '../session/session.ts';
import type { EndPointType, NewSession } from '../session/session-host.ts';
import type { Address, Connection } from '../transport/connection.ts';
import type { Acceptor, AdmissionRole, Transport } from '../transport/transport.ts';
import { Admission, type Refusal } from './admission.ts';
import { EndPoint, type EndPointEvents } from './endpoint.ts';
import { SERVER_DEFAULTS, type ServerOptions } from './options.ts';
import { upgradeConnection } from './upgrade.ts';

export interface ServerEvents<In, Out> extends EndPointEvents<In, Out> {
  listening: readonly [address: Address];
  /** A connection was refused before a session was made. */
  refused: readonly [remoteAddress: Address, why: Refusal];
  /** An admitted connection failed before it became a session: in the TLS handshake or an upgrade, for example. */
  connectionLost: readonly [remoteAddress: Address, error: PorticoError];
}

/** A server over any transport. `TcpServer` is one over TCP; use this class with a transport of your own. */
export class Server<In = unknown, Out = In> extends EndPoint<In, Out, ServerEvents<In, Out>> {
  protected acceptor: Acceptor | undefined;
  readonly #transport: Transport;
  readonly #serverOptions: ServerOptions<In, Out>;
  readonly #admission: Admission;
  /** Connections whose upgrades are running; as many as are admitted. */
  readonly #upgrading = new Set<AbortController>();
  /** What connections were admitted as whose upgrades have changed the address. */
  readonly #admittedAs = new WeakMap<Connection, Address>();
  #isListening = false;
  #hasStopped = false;
  #acceptor: Promise<Acceptor> | undefined;
  #newSession: NewSession<In, Out> | undefined;

  constructor(transport: Transport, options: ServerOptions<In, Out>, type: EndPointType) {
    super(type, options);
    this.#transport = transport;
    this.#serverOptions = options;
    this.#admission = new Admission(options);
  }

  /** A server over a transport of your own. */
  static over<In, Out>(transport: Transport, ...options: readonly Option<ServerOptions<In, Out>>[]): Server<In, Out> {
    return new Server(transport, buildSessionOptions<ServerOptions<In, Out>>(SERVER_DEFAULTS, options), 'CUSTOM');
  }

  /** Where the server listens; throws WRONG_STATE before `listen` has resolved. */
  get localAddress(): Address {
    if (this.acceptor === undefined) throw new StateError('WRONG_STATE', 'localAddress: expected a server that listens');
    return this.acceptor.address;
  }

  /** The listening socket itself; undefined before `listen` and after `stopAccepting`. */
  get raw(): unknown {
    return this.#hasStopped ? undefined : this.acceptor?.raw;
  }

  /**
   * Begins to listen. `newSession` sets each session up before it opens. Rejects with LISTEN_FAILED when the address cannot be
   * bound, INVALID_ADDRESS, INVALID_TLS, or WRONG_STATE when the server listens or has closed.
   */
  async listen(newSession?: NewSession<In, Out>): Promise<this> {
    if (this.isClosed) throw new StateError('ENDPOINT_CLOSED', 'listen: the server has closed');
    if (this.#isListening) throw new StateError('WRONG_STATE', 'listen: the server listens already');
    this.#isListening = true;
    this.#newSession = newSession;
    try {
      this.#acceptor = this.#transport.listen(this.#serverOptions.localAddress, {
        admit: (remoteAddress, role) => this.#admit(remoteAddress, role),
        onConnection: (connection) => this.#onConnection(connection),
        onConnectionLost: (remoteAddress, error, role) => this.#onConnectionLost(remoteAddress, error, role),
        onAcceptError: (error) => this.emit('error', error),
      });
      this.acceptor = await this.#acceptor;
    } catch (thrown) {
      this.#isListening = false;
      this.#acceptor = undefined;
      throw thrown;
    }
    if (this.isClosed) throw new StateError('ENDPOINT_CLOSED', 'listen: the server was closed meanwhile');
    publish('endpointOpen', () => ({ endPoint: this, address: this.localAddress }));
    this.emitter.emit('listening', this.localAddress);
    return this;
  }

  /** Takes no more connections; open sessions live on. Safe at any time. */
  async stopAccepting(): Promise<void> {
    // One that is about to listen is closed as soon as it does.
    const acceptor = await this.#acceptor?.catch(() => undefined);
    if (acceptor === undefined) return;
    this.#hasStopped = true;
    for (const attempt of this.#upgrading) attempt.abort(new StateError('ENDPOINT_CLOSED', 'the server stopped accepting'));
    await acceptor.close();
  }

  protected override get refusedConnections(): number {
    return this.#admission.refused;
  }

  protected override async stop(): Promise<void> {
    await this.stopAccepting();
  }

  protected override sessionOver(session: Session<In, Out>): void {
    this.#admission.release(this.#admittedAs.get(session.connection) ?? session.remoteAddress);
  }

  #admit(remoteAddress: Address, role: AdmissionRole | undefined): string | undefined {
    const refusal = this.#admission.admit(remoteAddress, this.wheel.now(), role);
    if (refusal === undefined) return undefined;
    publish('refuse', () => ({ endPoint: this, remoteAddress, why: refusal }));
    this.emitter.emit('refused', remoteAddress, refusal);
    return refusal;
  }

  #onConnection(connection: Connection): void {
    if (this.isClosed) {
      this.#admission.release(connection.remoteAddress);
      connection.abort();
      return;
    }
    if (this.options.upgrades.length === 0) this.#startSession(connection);
    else void this.#upgrade(connection);
  }

  async #upgrade(connection: Connection): Promise<void> {
    const { handshakeTimeoutMs } = this.#serverOptions;
    const attempt = new AbortController();
    const cancelTimer = after(this.wheel, handshakeTimeoutMs, () => {
      attempt.abort(new PeerError('HANDSHAKE_TIMEOUT', `upgrade: not done within ${handshakeTimeoutMs} ms`));
    });
    this.#upgrading.add(attempt);
    let upgraded: Connection | undefined;
    try {
      upgraded = await upgradeConnection(connection, this.options.upgrades, attempt.signal);
    } catch (thrown) {
      this.#onConnectionLost(connection.remoteAddress, thrown as PorticoError);
    } finally {
      cancelTimer();
      this.#upgrading.delete(attempt);
    }
    if (upgraded === undefined) return;
    if (upgraded.remoteAddress !== connection.remoteAddress) this.#admittedAs.set(upgraded, connection.remoteAddress);
    this.#startSession(upgraded);
  }

  #startSession(connection: Connection): void {
    const session = new Session<In, Out>(connection, this.options, this.host);
    this.track(session);
    void session.start(this.#newSession);
  }

  #onConnectionLost(remoteAddress: Address, error: PorticoError, role?: AdmissionRole): void {
    this.#admission.release(remoteAddress, role);
    this.emitter.emit('connectionLost', remoteAddress, error);
  }
}
