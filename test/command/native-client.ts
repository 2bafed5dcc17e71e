import { CommandHandler, type CommandMessage, Frame } from '../../src/command/command-handler.ts';
import { Replay } from '../../src/command/replay.ts';
import {
  COMMAND_ID,
  decodeFailure,
  decodeGoodbye,
  decodeNumber,
  decodePresence,
  decodeReply,
  decodeRoom,
  decodeWelcome,
  encodeCall,
  encodeControl,
  encodeCredit,
  encodeJson,
  encodeMessage,
  encodeSeq,
  type Goodbye,
  isCounted,
  type Presence,
  type Welcome,
} from '../../src/command/wire.ts';
import type { CloseReason } from '../../src/session/close-reason.ts';
import type { Session } from '../../src/session/session.ts';
import type { MemoryWorld } from '../helpers/session-memory.ts';
import { eventually } from '../helpers/session-recorder.ts';

export interface Reply {
  readonly kind: number;
  readonly text: string;
}

export interface HelloOptions {
  readonly auth?: unknown;
  readonly rooms?: readonly { readonly name: string; readonly state?: unknown }[];
}

/** Where a client connects to its hub. */
export type NativeWorld = Pick<MemoryWorld, 'connect'> & { readonly clock: Pick<MemoryWorld['clock'], 'now'> };

/** The other half of the native profile in the hands of a test, over a stream: it does what the page says and writes all down. */
export class NativeClient {
  readonly world: NativeWorld;
  readonly replay: Replay<Frame>;
  session: Session<CommandMessage> | undefined;
  welcome: Welcome | undefined;
  token: string | undefined;
  /** What came for handlers, as `id:text` or `room/id:text`; volatile ones begin with `~`. */
  readonly heard: string[] = [];
  /** Everything in the order in which it came, by id. */
  readonly ids: number[] = [];
  readonly replies = new Map<number, Reply[]>();
  readonly presence: Presence[] = [];
  readonly goodbyes: Goodbye[] = [];
  readonly closes: CloseReason[] = [];
  repeated = 0;
  acks = 0;
  pongs = 0;
  /** Answers calls of the server. */
  onCall: (call: number, id: number, text: string) => void = () => {};
  readonly #handler: CommandHandler;
  #call = 0;

  constructor(world: NativeWorld, limits = { messages: 10_000, bytes: 10_000_000, ageMs: 1_000_000 }, handler = new CommandHandler()) {
    this.world = world;
    this.#handler = handler;
    this.replay = new Replay(limits);
  }

  /** Connects and says HELLO, with the token of an earlier WELCOME if there is one. */
  async open(hello: HelloOptions = {}): Promise<this> {
    await this.connect();
    const isResuming = this.token !== undefined;
    const { token } = this;
    this.welcome = undefined;
    this.control(
      encodeControl(COMMAND_ID.HELLO, {
        v: 1,
        ...hello,
        ...(token === undefined ? {} : { token, received: this.replay.receivedSeq, oldest: this.replay.oldestSeq }),
      }),
    );
    await eventually(() => this.welcome !== undefined || this.session?.isClosed === true, isResuming ? 'the second WELCOME' : 'WELCOME');
    return this;
  }

  async connect(): Promise<Session<CommandMessage>> {
    const session = await this.world.connect<CommandMessage, CommandMessage>(this.#handler, {
      onMessage: (from, message) => {
        if (from === this.session) this.#onMessage(message);
      },
      onClose: (from, reason) => {
        if (from === this.session) this.closes.push(reason);
      },
    });
    this.session = session;
    return session;
  }

  /** Loses the connection. */
  cut(): void {
    this.session?.destroy();
  }

  control(message: Uint8Array): void {
    this.session?.sendEncoded(Frame.ofMessage(message).stream);
  }

  /** A counted message, kept until it is acknowledged; it leaves now if there is a connection. */
  counted(message: Uint8Array): void {
    const frame = Frame.ofMessage(message);
    this.replay.sent(frame, this.world.clock.now());
    if (this.welcome !== undefined) this.session?.sendEncoded(frame.stream);
  }

  send(id: number, text: string): void {
    this.counted(encodeMessage(id, Buffer.from(text)));
  }

  call(id: number, body: string | Uint8Array, credit = 0): number {
    const call = ++this.#call;
    this.counted(encodeCall(call, id, Buffer.from(body)));
    if (credit > 0) this.counted(encodeCredit(call, credit));
    return call;
  }

  callJson(id: number, body: unknown): number {
    return this.call(id, encodeJson(body));
  }

  /** The replies to a call, once there are so many. */
  async repliesTo(call: number, count = 1): Promise<Reply[]> {
    await eventually(() => (this.replies.get(call)?.length ?? 0) >= count, `${count} replies`);
    return this.replies.get(call) ?? [];
  }

  async failureOf(call: number): Promise<{ readonly code: string; readonly message: string; readonly data?: unknown }> {
    const [reply] = await this.repliesTo(call);
    if (reply?.kind !== 1) throw new Error(`expected an error, given ${reply?.text}`);
    return decodeFailure(Buffer.from(reply.text));
  }

  #onMessage({ id, payload }: CommandMessage): void {
    this.ids.push(id);
    if (isCounted(id) && !this.replay.received()) {
      this.repeated++;
      return;
    }
    if (this.replay.isAckDue) this.control(encodeSeq(COMMAND_ID.ACK, this.replay.takeAck()));
    if (id === COMMAND_ID.WELCOME) this.#onWelcome(decodeWelcome(payload));
    else if (id === COMMAND_ID.SEQ) this.replay.expect(decodeNumber(payload) ?? 0);
    else if (id === COMMAND_ID.ACK) {
      this.acks++;
      this.replay.acknowledged(decodeNumber(payload) ?? 0);
    } else if (id === COMMAND_ID.PONG) this.pongs++;
    else if (id === COMMAND_ID.GOODBYE) this.goodbyes.push(decodeGoodbye(payload) as Goodbye);
    else if (id === COMMAND_ID.PRESENCE) this.presence.push(decodePresence(payload) as Presence);
    else if (id === COMMAND_ID.REPLY) this.#onReply(payload);
    else if (id === COMMAND_ID.CALL) {
      const bytes = Buffer.from(payload);
      this.onCall(bytes.readUInt32BE(0), bytes.readUInt32BE(4), String(bytes.subarray(8)));
    } else if (id === COMMAND_ID.VOLATILE) this.heard.push(`~${this.#show(Buffer.from(payload).readUInt32BE(0), payload.subarray(4))}`);
    else this.heard.push(this.#show(id, payload));
  }

  #show(id: number, payload: Uint8Array): string {
    if (id !== COMMAND_ID.ROOM) return `${id}:${Buffer.from(payload)}`;
    const message = decodeRoom(payload);
    return `${message?.room}/${message?.id}:${Buffer.from(message?.payload ?? [])}`;
  }

  #onWelcome(welcome: Welcome | undefined): void {
    if (welcome === undefined) throw new Error('a WELCOME that cannot be read');
    this.welcome = welcome;
    this.token = welcome.token;
    if (!welcome.recovered) return;
    this.replay.acknowledged(welcome.received);
    this.replay.resumed();
    this.control(encodeSeq(COMMAND_ID.SEQ, this.replay.oldestSeq));
    for (const frame of this.replay.pending()) this.session?.sendEncoded(frame.stream);
  }

  #onReply(payload: Uint8Array): void {
    const reply = decodeReply(payload);
    if (reply === undefined) throw new Error('a REPLY that cannot be read');
    const { call, kind } = reply;
    this.replies.set(call, [...(this.replies.get(call) ?? []), { kind, text: String(Buffer.from(reply.payload)) }]);
  }
}
