import { Replay } from '../../src/command/replay.ts';
import {
  COMMAND_ID,
  decodeCall,
  decodeCredit,
  decodeHello,
  decodeNumber,
  decodeReply,
  decodeRoom,
  decodeVolatile,
  encodeControl,
  encodeJson,
  encodeMessage,
  encodeReply,
  encodeSeq,
  type Hello,
  isCounted,
  type ReplyKind,
  readUint32,
  type Welcome,
} from '../../src/command/wire.ts';
import type { FakeNet, FakeSocket } from './fake-net.ts';

const limits = { messages: 1_000, bytes: 1_048_576, ageMs: 120_000 };

/** What a server remembers of one client. */
export class FakePeer {
  readonly id: string;
  token: string;
  /** Good as long as nothing shows that the WELCOME with the new one has arrived. */
  previousToken: string | undefined;
  replay = new Replay<Uint8Array>(limits);
  socket: FakeSocket | undefined;
  lostAt: number | undefined;
  rooms: string[] = [];

  constructor(id: string) {
    this.id = id;
    this.token = `${id}/0`;
  }
}

export interface FakeCall {
  readonly peer: FakePeer;
  readonly call: number;
  readonly id: number;
  readonly payload: Uint8Array;
}

/** A server of the native profile, written from the protocol's page. What it has seen is in its lists. */
export class FakeHub {
  readonly net: FakeNet;
  readonly peers: FakePeer[] = [];
  readonly hellos: Hello[] = [];
  /** Messages as `id:text`, in the order in which a handler would see them. */
  readonly handled: string[] = [];
  readonly volatiles: string[] = [];
  readonly roomMessages: string[] = [];
  readonly calls: FakeCall[] = [];
  readonly credits: { call: number; items: number }[] = [];
  readonly cancelled: number[] = [];
  readonly replies: { call: number; kind: ReplyKind; text: string }[] = [];
  /** The numbers of PINGs and ACKs that came. */
  pings = 0;
  acks = 0;
  retentionMs = 60_000;
  heartbeatMs = 25_000;
  maxPayloadBytes = 10_485_760;
  /** undefined: welcome. */
  verdict: (hello: Hello) => { status: number; reason: string; retryAfterMs?: number; isFatal?: boolean } | undefined = () => undefined;
  onCall: (call: FakeCall) => void = () => {};

  constructor(net: FakeNet) {
    this.net = net;
    net.onMessage = (socket, bytes) => this.#receive(socket, bytes);
    net.onClosed = (socket) => this.#ended(socket);
  }

  get peer(): FakePeer {
    const peer = this.peers.at(-1);
    if (peer === undefined) throw new Error('nobody is here yet');
    return peer;
  }

  /** Counts and keeps a message, and sends it if there is a connection. */
  send(message: Uint8Array, peer: FakePeer = this.peer): void {
    peer.replay.sent(message, this.net.clock.now());
    peer.socket?.deliver(message);
  }

  text(id: number, text: string, peer?: FakePeer): void {
    this.send(encodeMessage(id, new TextEncoder().encode(text)), peer);
  }

  reply({ peer, call }: FakeCall, kind: ReplyKind, payload?: Uint8Array): void {
    this.send(encodeReply(call, kind, payload), peer);
  }

  /** The connection of the client breaks. */
  cut(peer: FakePeer = this.peer): void {
    const { socket } = peer;
    this.#lost(peer);
    socket?.cut();
  }

  /** The server starts again and knows nobody. */
  forgetAll(): void {
    for (const peer of this.peers) this.cut(peer);
    for (const peer of this.peers) {
      peer.token = '';
      peer.previousToken = undefined;
    }
  }

  #lost(peer: FakePeer): void {
    peer.socket = undefined;
    peer.lostAt = this.net.clock.now();
  }

  #ended(socket: FakeSocket): void {
    const peer = this.peers.find((one) => one.socket === socket);
    if (peer === undefined) return;
    this.#lost(peer);
    if (socket.closedWith?.status === 1000) peer.token = '';
  }

  #receive(socket: FakeSocket, bytes: Uint8Array): void {
    const id = readUint32(bytes, 0);
    const payload = bytes.subarray(4);
    if (id === COMMAND_ID.HELLO) {
      this.#hello(socket, payload);
      return;
    }
    const peer = this.peers.find((one) => one.socket === socket);
    if (peer === undefined) return;
    peer.previousToken = undefined;
    if (isCounted(id)) {
      if (peer.replay.received()) this.#counted(peer, id, payload);
      if (peer.replay.isAckDue) socket.deliver(encodeSeq(COMMAND_ID.ACK, peer.replay.takeAck()));
    } else if (id === COMMAND_ID.PING) {
      this.pings++;
      socket.deliver(encodeMessage(COMMAND_ID.PONG, payload));
    } else if (id === COMMAND_ID.ACK) {
      this.acks++;
      if (!peer.replay.acknowledged(decodeNumber(payload) ?? 0)) throw new Error('an ACK of the future');
    } else if (id === COMMAND_ID.SEQ) {
      if (!peer.replay.expect(decodeNumber(payload) ?? 0)) throw new Error('a SEQ that leaves messages out');
    } else if (id === COMMAND_ID.VOLATILE) {
      const message = decodeVolatile(payload);
      this.volatiles.push(`${message?.id}:${new TextDecoder().decode(message?.payload)}`);
    }
  }

  #hello(socket: FakeSocket, payload: Uint8Array): void {
    const hello = decodeHello(payload);
    if (hello === undefined) throw new Error('a malformed HELLO');
    this.hellos.push(hello);
    const refusal = this.verdict(hello);
    if (refusal !== undefined) {
      socket.deliver(encodeControl(COMMAND_ID.GOODBYE, refusal));
      socket.closeByServer(refusal.status, refusal.reason);
      return;
    }
    const now = this.net.clock.now();
    const { token, received = 0 } = hello;
    const known = this.peers.find(
      (one) => token !== undefined && (one.token === token || one.previousToken === token) && now - (one.lostAt ?? now) <= this.retentionMs,
    );
    const recovered = known?.replay.acknowledged(received) === true && known.replay.canRepeatAfter(received);
    const peer = recovered && known !== undefined ? known : new FakePeer(`client-${this.peers.length + 1}`);
    if (!recovered) {
      this.peers.push(peer);
      peer.rooms = (hello.rooms ?? []).map(({ name }) => name);
    }
    peer.socket = socket;
    peer.lostAt = undefined;
    if (recovered) peer.previousToken = token;
    peer.token = `${peer.id}/${this.hellos.length}`;
    peer.replay.resumed();
    const { id, rooms } = peer;
    const welcome: Welcome = {
      id,
      token: peer.token,
      recovered,
      received: recovered ? peer.replay.receivedSeq : 0,
      heartbeatMs: this.heartbeatMs,
      retentionMs: this.retentionMs,
      maxPayloadBytes: this.maxPayloadBytes,
      rooms,
    };
    socket.deliver(encodeControl(COMMAND_ID.WELCOME, this.retentionMs > 0 ? welcome : without(welcome)));
    const repeated = [...peer.replay.pending()];
    if (repeated.length > 0) socket.deliver(encodeSeq(COMMAND_ID.SEQ, peer.replay.oldestSeq));
    for (const message of repeated) socket.deliver(message);
  }

  #counted(peer: FakePeer, id: number, payload: Uint8Array): void {
    if (id === COMMAND_ID.CALL) {
      const call = decodeCall(payload);
      if (call === undefined) throw new Error('a malformed CALL');
      this.#called({ peer, ...call });
    } else if (id === COMMAND_ID.REPLY) {
      const reply = decodeReply(payload);
      if (reply !== undefined) this.replies.push({ call: reply.call, kind: reply.kind, text: new TextDecoder().decode(reply.payload) });
    } else if (id === COMMAND_ID.CANCEL) this.cancelled.push(decodeNumber(payload) ?? 0);
    else if (id === COMMAND_ID.CREDIT) this.credits.push(decodeCredit(payload) ?? { call: 0, items: 0 });
    else if (id === COMMAND_ID.ROOM) {
      const message = decodeRoom(payload);
      this.roomMessages.push(`${message?.room} ${message?.id}:${new TextDecoder().decode(message?.payload)}`);
    } else this.handled.push(`${id}:${new TextDecoder().decode(payload)}`);
  }

  #called(call: FakeCall): void {
    if (call.id === COMMAND_ID.JOIN) {
      const { room } = JSON.parse(new TextDecoder().decode(call.payload)) as { room: string };
      call.peer.rooms = [...call.peer.rooms, room];
      this.reply(call, 0, encodeJson({ members: { [call.peer.id]: null } }));
    } else if (call.id === COMMAND_ID.LEAVE) {
      const { room } = JSON.parse(new TextDecoder().decode(call.payload)) as { room: string };
      call.peer.rooms = call.peer.rooms.filter((one) => one !== room);
      this.reply(call, 0, encodeJson({}));
    } else {
      this.calls.push(call);
      this.onCall(call);
    }
  }
}

function without({ token: _token, ...welcome }: Welcome): Welcome {
  return welcome;
}
