import { CallError } from '../base/call-error.ts';
import { ListenerError, PeerError, type PorticoError, StateError } from '../base/errors.ts';
import { ACK_DELAY_MS, Receipts } from '../command/replay.ts';
import {
  ACK_ID,
  CALL_ID,
  CANCEL_ID,
  COMMAND_SUBPROTOCOL,
  decodeCall,
  decodeFailure,
  decodeGoodbye,
  decodeNumber,
  decodeReply,
  decodeWelcome,
  encodeJson,
  encodeMessage,
  encodeNumbers,
  encodeReply,
  GOODBYE_ID,
  HELLO_ID,
  isCounted,
  PING_ID,
  PONG_ID,
  REPLY_ID,
  readUint32,
  SEQ_ID,
  VOLATILE_ID,
  WELCOME_ID,
  type Welcome,
} from '../command/wire.ts';
import { type Calls, makeCalls } from './calls.ts';
import type { ClientClose, ClientEvents } from './client-events.ts';
import type { Settings } from './client-options.ts';
import type { Commands } from './commands.ts';
import { type Connector, type Link, makeConnector } from './connector.ts';
import type { WebSocketLike } from './environment.ts';
import { type Heartbeat, makeHeartbeat } from './heartbeat.ts';
import { watchPage } from './page-watch.ts';
import { makeSender, type Sender } from './sender.ts';

/** The rooms of a client, when it has any. */
export interface RoomKeeper {
  /** For HELLO. */
  rooms(): readonly { readonly name: string; readonly state?: unknown }[];
  /** The session is a new one, which is in these rooms. */
  joined(names: readonly string[]): void;
}

/** The calls of the server, when somebody handles them. */
export interface CallKeeper {
  receive(call: number, id: number, payload: Uint8Array): void;
  cancel(call: number): void;
  /** The session is over: nobody waits for the answers. */
  end(error: PorticoError): void;
}

/** Everything between the sockets and the methods that users call: the protocol, what waits, and what is told. */
export interface ClientCore {
  readonly settings: Settings;
  readonly commands: Commands;
  readonly connector: Connector;
  readonly sender: Sender;
  readonly calls: Calls;
  readonly heartbeat: Heartbeat;
  /** Who handles the reserved ids that the core itself does not: JSON-RPC, rooms. */
  readonly reserved: Map<number, (payload: Uint8Array) => void>;
  /** Set by those parts of a client that pages load only when they use them. */
  rooms?: RoomKeeper;
  incoming?: CallKeeper;
  connect(): ReturnType<Connector['connect']>;
  /** A message that must not be lost. False: above the high-water mark, or dropped, which `dropped` tells. Throws as `give` of the sender. */
  send(frame: Uint8Array): boolean;
  /** No call is open and nothing waits. */
  isIdle(): boolean;
  /** What belongs to a call of this session. Nothing when the session is over. */
  answer(frame: Uint8Array): void;
  /** A handler failed, or a body could not be read. */
  failed(thrown: unknown, command: string | number): void;
  counts(): { readonly messagesReceived: number; readonly unhandled: number; readonly duplicates: number };
}

const DEFAULT_HEARTBEAT_MS = 25_000;
const MIN_DEAD_MS = 5_000;

/** @param dispatch - hands a message to its handlers; false when it has none. */
export function makeCore(
  settings: Settings,
  commands: Commands,
  emit: <Name extends keyof ClientEvents>(name: Name, ...args: ClientEvents[Name]) => void,
  dispatch: (id: number, payload: Uint8Array) => boolean,
): ClientCore {
  const { clock, isNative } = settings;
  /** The server's memory of this client: the token shows that it is meant, the receipts, what has come of it. */
  let token: string | undefined;
  let receipts = new Receipts();
  let heartbeatMs = 0;
  let cancelAck: (() => void) | undefined;
  let unwatch: (() => void) | undefined;
  let messagesReceived = 0;
  let unhandled = 0;
  let duplicates = 0;

  const connector = makeConnector(settings, emit, onSocket, onMessage, onOpen, onDown, onOver);
  const { socket, abandon } = connector;
  const sender = makeSender(settings, socket, emit, (call, error) => calls.cancel(call, error));
  const calls = makeCalls(settings, sender, connector.isOver, answer);
  const heartbeat = makeHeartbeat(
    clock,
    (mark) => sendNow(encodeNumbers([PING_ID, mark])),
    () => abandon(4408, new PeerError('HEARTBEAT_TIMEOUT', 'the server is silent'), true),
  );
  const core: ClientCore = {
    settings,
    commands,
    connector,
    sender,
    calls,
    heartbeat,
    reserved: new Map(),
    answer,
    failed,
    isIdle: () => calls.size() === 0 && sender.bytes() === 0,
    connect() {
      unwatch ??= watchPage(
        settings.page,
        () => (socket() ? heartbeat.check() : connector.wake()),
        heartbeat.check,
        () => abandon(4000),
      );
      return connector.connect();
    },
    send(frame) {
      if (!connector.isOver()) return sender.give(frame, 'message') && !sender.isAbove();
      sender.drop(frame, 'closed');
      return false;
    },
    counts: () => ({ messagesReceived, unhandled, duplicates }),
  };

  function answer(frame: Uint8Array): void {
    if (socket() || token !== undefined) sender.give(frame, 'answer');
  }

  function failed(thrown: unknown, command: string | number): void {
    const error =
      thrown instanceof PeerError
        ? thrown
        : new ListenerError('LISTENER_FAILED', 'message', `a handler of ${command} failed`, { cause: thrown });
    emit('error', error);
  }

  /** What is not counted: now or never. */
  function sendNow(frame: Uint8Array): void {
    socket()?.send(frame as Uint8Array<ArrayBuffer>);
  }

  // --- the connection ---

  function onSocket(link: Link, opened: WebSocketLike, auth: unknown): void {
    if (!isNative) {
      connector.opened(link, { id: '', recovered: false });
      return;
    }
    need(opened.protocol === COMMAND_SUBPROTOCOL);
    const rooms = core.rooms?.rooms();
    const resume = token === undefined ? {} : { token, received: receipts.receivedSeq, oldest: sender.oldestSeq() };
    // JSON leaves out what is undefined.
    opened.send(encodeMessage(HELLO_ID, encodeJson({ v: 1, ...resume, auth, rooms: rooms?.length ? rooms : undefined })) as never);
  }

  function onOpen(info: Parameters<Connector['opened']>[1], isFirst: boolean): void {
    const { heartbeat: chosen } = settings;
    if (chosen !== false && isNative) {
      const intervalMs = chosen.intervalMs || heartbeatMs || DEFAULT_HEARTBEAT_MS;
      heartbeat.start(intervalMs, chosen.timeoutMs || Math.max(MIN_DEAD_MS, intervalMs));
    }
    emit(isFirst ? 'open' : 'reconnected', info);
    sender.flush();
  }

  function quieten(): void {
    heartbeat.stop();
    cancelAck?.();
    cancelAck = undefined;
  }

  function onDown(close: ClientClose): void {
    quieten();
    if (token === undefined) endSession(close, sender.isWaiting);
    else calls.end(lostError(close), (_call, survives) => survives);
  }

  function onOver(close: ClientClose): void {
    unwatch?.();
    unwatch = undefined;
    quieten();
    endSession(close, () => false);
    sender.stop();
    forget();
    core.rooms?.joined([]);
    emit('close', close);
  }

  function lostError(close?: ClientClose): PorticoError {
    return new StateError('SESSION_CLOSED', 'the session is over', { cause: close?.error });
  }

  /** What belonged to the server's memory of this client is gone. */
  function endSession(close: ClientClose | undefined, isKept: (call: number) => boolean): void {
    const error = lostError(close);
    calls.end(error, isKept);
    core.incoming?.end(error);
    sender.dropAnswers();
  }

  function forget(): void {
    token = undefined;
    receipts = new Receipts();
    sender.forget();
  }

  // --- receiving ---

  function onMessage(link: Link, from: WebSocketLike, data: unknown): void {
    messagesReceived++;
    heartbeat.heard();
    try {
      const bytes = new Uint8Array(need(data instanceof ArrayBuffer && data));
      const id = idOf(bytes);
      const payload = bytes.subarray(4);
      if (!isNative) hand(id, payload);
      else if (!isCounted(id)) onControl(link, from, id, payload);
      else {
        need(link.openedAt);
        if (receipts.received()) onCounted(id, payload);
        else duplicates++;
        if (receipts.isAckDue) acknowledge();
        else cancelAck ??= clock.after(ACK_DELAY_MS, acknowledge);
      }
    } catch (thrown) {
      if (!(thrown instanceof PeerError)) throw thrown;
      abandon(4400, thrown);
    }
  }

  function acknowledge(): void {
    cancelAck?.();
    cancelAck = undefined;
    if (receipts.unacknowledged > 0) sendNow(encodeNumbers([ACK_ID, receipts.takeAck()]));
  }

  function onControl(link: Link, from: WebSocketLike, id: number, payload: Uint8Array): void {
    if (id === PING_ID) from.send(encodeMessage(PONG_ID, payload) as Uint8Array<ArrayBuffer>);
    else if (id === PONG_ID) heartbeat.pong(readUint32(payload, 0));
    else if (id === GOODBYE_ID) link.goodbye = need(decodeGoodbye(payload));
    else if (link.openedAt === undefined) onWelcome(link, from, need(id === WELCOME_ID && decodeWelcome(payload)));
    else if (id === VOLATILE_ID) {
      hand(idOf(payload), payload.subarray(4));
    } else {
      const seq = need(decodeNumber(payload));
      need(id === ACK_ID ? sender.acknowledged(seq) : id === SEQ_ID && receipts.expect(seq));
    }
  }

  function onWelcome(link: Link, from: WebSocketLike, welcome: Welcome): void {
    const { received, id } = welcome;
    const recovered = welcome.recovered && token !== undefined;
    const canGoOn = recovered && sender.acknowledged(received) && sender.repeatAfter(received, from);
    if (canGoOn) receipts.resumed();
    else forget();
    // The server should have known that this side cannot.
    need(recovered === canGoOn);
    token = welcome.token;
    heartbeatMs = welcome.heartbeatMs;
    sender.limit(Math.min(settings.maxPayloadBytes, welcome.maxPayloadBytes || Number.MAX_VALUE));
    if (!recovered) {
      // Calls that have not left go to the new one.
      endSession(undefined, sender.isWaiting);
      core.rooms?.joined(welcome.rooms);
    }
    connector.opened(link, { id, recovered });
  }

  function onCounted(id: number, payload: Uint8Array): void {
    if (id === REPLY_ID) {
      const { call, kind, payload: body } = need(decodeReply(payload));
      if (kind !== 1) calls.answer(call, undefined, kind === 3 ? undefined : body, kind !== 2);
      else {
        const { code, message, data } = decodeFailure(body);
        calls.answer(call, new CallError(code, message, data), undefined, true);
      }
    } else if (id === CALL_ID) {
      const { call, id: command, payload: body } = need(decodeCall(payload));
      if (!core.incoming) answer(encodeReply(call, 1, encodeJson({ code: 'NOT_FOUND' })));
      else core.incoming.receive(call, command, body);
    } else if (id === CANCEL_ID) core.incoming?.cancel(need(decodeNumber(payload)));
    else hand(id, payload);
  }

  function hand(id: number, payload: Uint8Array): void {
    const reserved = core.reserved.get(id);
    if (reserved) reserved(payload);
    else if (!dispatch(id, payload)) unhandled++;
  }

  return core;
}

/** Throws where the server broke the protocol. */
export function need<T>(value: T | undefined | false): T {
  if (value === undefined || value === false) throw new PeerError('PROTOCOL_VIOLATION', 'the server broke the protocol');
  return value;
}

/** A message has its id at least. */
function idOf(message: Uint8Array): number {
  need(message.length >= 4);
  return readUint32(message, 0);
}
