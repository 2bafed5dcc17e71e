import { CallError } from '../base/call-error.ts';
import { ListenerError, PeerError, type PorticoError, StateError } from '../base/errors.ts';
import { ACK_DELAY_MS } from '../command/replay.ts';
import {
  COMMAND_ID,
  COMMAND_SUBPROTOCOL,
  decodeCall,
  decodeFailure,
  decodeGoodbye,
  decodeNumber,
  decodeReply,
  decodeVolatile,
  decodeWelcome,
  encodeCancel,
  encodeJson,
  encodeMessage,
  encodeReply,
  encodeSeq,
  type Hello,
  isCounted,
  readUint32,
  type Welcome,
  writeUint32,
} from '../command/wire.ts';
import { Calls } from './calls.ts';
import type { ClientClose, ClientEvents, OpenInfo } from './client-events.ts';
import type { Settings } from './client-options.ts';
import { Connector, type ConnectorHost } from './connector.ts';
import { Heartbeat } from './heartbeat.ts';
import type { Link } from './link.ts';
import { NativeSession } from './native-session.ts';
import { PageWatch } from './page-watch.ts';
import { POLL_MS, Sender } from './sender.ts';

/** What the core hands up. */
export interface CoreHost {
  emit<Name extends keyof ClientEvents>(name: Name, ...args: ClientEvents[Name]): void;
  /** False: nobody listens to it. */
  onMessage(id: number, payload: Uint8Array): boolean;
  wantedRooms(): NonNullable<Hello['rooms']>;
  /** The session is a new one, which is in these rooms. */
  onNewSession(rooms: readonly string[]): void;
}

const DEFAULT_HEARTBEAT_MS = 25_000;
const MIN_DEAD_MS = 5_000;

/** Everything between the sockets and the methods that users call: the protocol, what waits, and what is told. */
export class ClientCore implements ConnectorHost {
  readonly connector: Connector;
  readonly calls: Calls;
  /** Who handles the reserved ids that the core itself does not: JSON-RPC, rooms, calls of the server. */
  readonly reserved: Map<number, (payload: Uint8Array) => void> = new Map();
  /** Told when nothing of the session can be answered any more. */
  readonly sessionEnds: Set<(error: PorticoError) => void> = new Set();
  readonly heartbeat: Heartbeat;
  readonly #settings: Settings;
  readonly #host: CoreHost;
  readonly #native: NativeSession | undefined;
  readonly #page: PageWatch;
  readonly sender: Sender;
  #cancelAck: (() => void) | undefined;
  /** What the last WELCOME said. */
  #heartbeatMs = 0;
  readonly counts: { messagesReceived: number; unhandled: number; duplicates: number } = {
    messagesReceived: 0,
    unhandled: 0,
    duplicates: 0,
  };

  constructor(settings: Settings, host: CoreHost) {
    this.#settings = settings;
    this.#host = host;
    const { clock, maxCalls } = settings;
    this.connector = new Connector(settings, this);
    this.sender = new Sender(settings, this.connector, host);
    this.#native =
      settings.profile === 'native' ? new NativeSession(settings.replay, (frame, reason) => this.sender.drop(frame, reason)) : undefined;
    this.sender.replay = () => this.#native?.replay;
    this.calls = new Calls(clock, maxCalls, {
      send: (frame) => void this.sender.give(frame, 'call'),
      unsend: (frame) => this.sender.outbox.remove(frame),
      sendCancel: (call) => this.answer(encodeCancel(call)),
    });
    this.heartbeat = new Heartbeat(clock, {
      ping: (mark) => {
        const payload = new Uint8Array(4);
        writeUint32(payload, 0, mark);
        this.connector.link?.send(encodeMessage(COMMAND_ID.PING, payload));
      },
      onDead: () => this.connector.abandon(4408, 'heartbeat', new PeerError('HEARTBEAT_TIMEOUT', 'the server is silent'), true),
    });
    this.#page = new PageWatch(settings.page, {
      onWake: () => (this.connector.link === undefined ? this.connector.hurry() : this.heartbeat.check()),
      onDoubt: () => this.heartbeat.check(),
      onSuspend: () => this.connector.abandon(4000, 'suspended', undefined),
    });
  }

  /** What belongs to a call of this session. Nothing when the session is over. */
  answer(frame: Uint8Array): void {
    if (this.connector.link !== undefined || this.#native?.canResume) this.sender.give(frame, 'answer');
  }

  /** A handler failed, or a body could not be read. */
  failed(thrown: unknown, command: string | number): void {
    const isOurs = thrown instanceof PeerError;
    const message = `a handler of ${command} failed`;
    this.emit('error', isOurs ? thrown : new ListenerError('LISTENER_FAILED', 'message', message, { cause: thrown }));
  }

  // --- the connection ---

  emit<Name extends keyof ClientEvents>(name: Name, ...args: ClientEvents[Name]): void {
    this.#host.emit(name, ...args);
  }

  connect(): Promise<OpenInfo> {
    if (this.connector.state === 'idle' || this.connector.state === 'closed') this.#page.start();
    return this.connector.connect();
  }

  /** Resolves when no call is open and nothing waits. */
  drained(done: () => void): void {
    if ((this.calls.size === 0 && this.sender.queuedBytes === 0) || this.connector.state !== 'closing') done();
    else this.#settings.clock.after(POLL_MS, () => this.drained(done));
  }

  onSocketOpen(link: Link, auth: unknown): void {
    if (this.#native === undefined) {
      this.connector.welcomed(link, { id: '', recovered: false });
    } else if (link.subprotocol === COMMAND_SUBPROTOCOL) {
      link.send(this.#native.hello(auth, this.#host.wantedRooms(), this.#settings.clock.now()));
    } else {
      this.#violated(violation());
    }
  }

  onOpen(link: Link, info: OpenInfo, isFirst: boolean): void {
    this.#startHeartbeat();
    this.#host.emit(isFirst ? 'open' : 'reconnected', info);
    if (this.connector.link === link) this.sender.flush();
  }

  onDown(close: ClientClose): void {
    this.heartbeat.stop();
    this.#cancelAck?.();
    this.#cancelAck = undefined;
    if (this.#native?.canResume !== true) this.#endSession(close);
  }

  onOver(close: ClientClose): void {
    this.#page.stop();
    this.heartbeat.stop();
    this.#cancelAck?.();
    this.#cancelAck = undefined;
    const error = lostError(close);
    this.calls.failAll(error);
    for (const fn of this.sessionEnds) fn(error);
    this.sender.stop();
    this.#native?.forget('lost');
    this.#host.onNewSession([]);
    this.#host.emit('close', close);
  }

  /** What belonged to the server's memory of this client is gone. */
  #endSession(close?: ClientClose): void {
    const error = lostError(close);
    this.calls.failAll(error, (frame) => this.sender.outbox.has(frame));
    for (const fn of this.sessionEnds) fn(error);
    this.sender.outbox.removeAnswers();
  }

  #violated(error: PeerError): void {
    this.connector.abandon(4400, error.message, error);
  }

  // --- receiving ---

  onMessage(link: Link, data: unknown): void {
    this.counts.messagesReceived++;
    this.heartbeat.heard();
    try {
      const bytes = new Uint8Array(need(data instanceof ArrayBuffer && data.byteLength >= 4 ? data : undefined));
      this.#receive(link, readUint32(bytes, 0), bytes.subarray(4));
    } catch (thrown) {
      if (!(thrown instanceof PeerError)) throw thrown;
      this.#violated(thrown);
    }
  }

  #receive(link: Link, id: number, payload: Uint8Array): void {
    const replay = this.#native?.replay;
    if (replay === undefined) this.#hand(id, payload);
    else if (!isCounted(id)) this.#control(link, id, payload);
    else {
      need(link.openedAt);
      if (replay.received()) this.#counted(id, payload);
      else this.counts.duplicates++;
      if (replay.isAckDue) this.#acknowledge();
      else this.#cancelAck ??= this.#settings.clock.after(ACK_DELAY_MS, () => this.#acknowledge());
    }
  }

  #acknowledge(): void {
    this.#cancelAck?.();
    this.#cancelAck = undefined;
    const replay = this.#native?.replay;
    const { link } = this.connector;
    if (replay !== undefined && link !== undefined && replay.unacknowledged > 0) link.send(encodeSeq(COMMAND_ID.ACK, replay.takeAck()));
  }

  #welcome(link: Link, native: NativeSession, welcome: Welcome): void {
    const recovered = welcome.recovered && native.canResume;
    const repeated = native.welcome(welcome);
    if (repeated === undefined) native.forget('lost');
    const frames = need(repeated);
    this.sender.maxPayloadBytes = Math.min(this.#settings.maxPayloadBytes, welcome.maxPayloadBytes || Number.MAX_VALUE);
    this.#heartbeatMs = welcome.heartbeatMs;
    if (!recovered) {
      this.#endSession();
      this.#host.onNewSession(welcome.rooms);
    }
    if (frames.length > 0) link.send(encodeSeq(COMMAND_ID.SEQ, native.replay.oldestSeq));
    for (const frame of frames) link.send(frame);
    this.connector.welcomed(link, { id: welcome.id, recovered });
  }

  #startHeartbeat(): void {
    const { heartbeat } = this.#settings;
    if (heartbeat === false || this.#native === undefined) return;
    const intervalMs = heartbeat.intervalMs || this.#heartbeatMs || DEFAULT_HEARTBEAT_MS;
    this.heartbeat.start(intervalMs, heartbeat.timeoutMs || Math.max(MIN_DEAD_MS, intervalMs));
  }

  #control(link: Link, id: number, payload: Uint8Array): void {
    const native = need(this.#native);
    if (id === COMMAND_ID.PING) link.send(encodeMessage(COMMAND_ID.PONG, payload));
    else if (id === COMMAND_ID.PONG) this.heartbeat.pong(readUint32(payload, 0));
    else if (id === COMMAND_ID.GOODBYE) link.goodbye = need(decodeGoodbye(payload));
    else if (link.openedAt === undefined) {
      this.#welcome(link, native, need(id === COMMAND_ID.WELCOME ? decodeWelcome(payload) : undefined));
    } else if (id === COMMAND_ID.VOLATILE) {
      const message = need(decodeVolatile(payload));
      this.#hand(message.id, message.payload);
    } else {
      const seq = need(decodeNumber(payload));
      need((id === COMMAND_ID.ACK ? native.replay.acknowledged(seq) : id === COMMAND_ID.SEQ && native.replay.expect(seq)) || undefined);
    }
  }

  #counted(id: number, payload: Uint8Array): void {
    if (id === COMMAND_ID.REPLY) {
      const { call, kind, payload: answer } = need(decodeReply(payload));
      if (kind === 2) this.calls.item(call, answer);
      else if (kind !== 1) this.calls.end(call, kind === 0 ? answer : undefined);
      else {
        const { code, message, data } = decodeFailure(answer);
        this.calls.fail(call, new CallError(code, message, data));
      }
    } else if (id === COMMAND_ID.CALL && !this.reserved.has(id)) {
      this.answer(encodeReply(need(decodeCall(payload)).call, 1, encodeJson({ code: 'NOT_FOUND' })));
    } else {
      this.#hand(id, payload);
    }
  }

  #hand(id: number, payload: Uint8Array): void {
    const reserved = this.reserved.get(id);
    if (reserved !== undefined) reserved(payload);
    else if (!this.#host.onMessage(id, payload)) this.counts.unhandled++;
  }
}

function violation(): PeerError {
  return new PeerError('PROTOCOL_VIOLATION', 'the server broke the protocol');
}

/** Throws where the server broke the protocol. */
function need<T>(value: T | undefined): T {
  if (value === undefined) throw violation();
  return value;
}

function lostError(close: ClientClose | undefined): PorticoError {
  const how = close === undefined ? 'it could not be resumed' : `${close.status} ${close.reason}`;
  return new StateError('SESSION_CLOSED', `the session is over: ${how}`, { cause: close?.error });
}
