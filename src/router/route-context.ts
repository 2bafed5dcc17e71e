import { Attributes } from '../base/attributes.ts';
import { describeThrown, ListenerError, PorticoError, StateError } from '../base/errors.ts';
import { invalidBody } from '../protocol/invalid-body.ts';
import type { Session } from '../session/session.ts';
import type { Action } from './action.ts';
import type { ActionPacket } from './action-packet.ts';

/** A session that carries packets with an action. */
export type ActionSession = Session<ActionPacket>;

/** How a context reads bodies and sends; one for all packets of an action in a format. */
export interface ContextSource {
  readonly format: string;
  decode(packet: ActionPacket): unknown;
  encodeReply(packet: ActionPacket, value: unknown): ActionPacket;
  replied(): void;
  push(session: ActionSession, action: number | Action<unknown>, value: unknown): boolean;
}

const UNREAD = Symbol('unread');

/**
 * One packet on its way through middleware and handler. It belongs to that packet alone and may be kept: nothing of it is used
 * again for another.
 */
export class RouteContext<Body = unknown> {
  readonly session: ActionSession;
  readonly packet: ActionPacket;
  readonly #source: ContextSource;
  #body: unknown = UNREAD;
  #attributes: Attributes | undefined;
  #isReplied = false;
  #isAborted = false;

  /** Made by routers. */
  constructor(session: ActionSession, packet: ActionPacket, source: ContextSource) {
    this.session = session;
    this.packet = packet;
    this.#source = source;
  }

  get action(): number {
    return this.packet.action;
  }

  get seq(): number {
    return this.packet.seq;
  }

  /** The body as it came. */
  get bytes(): Uint8Array {
    return this.packet.body;
  }

  /** Of the listener that the packet came to. */
  get format(): string {
    return this.#source.format;
  }

  /**
   * The body, decoded when it is first asked for; before the handler runs when the action has a codec of its own. Throws
   * InvalidBodyError when it is refused; a handler that lets that pass has its caller told INVALID.
   */
  get body(): Body {
    this.decodeNow();
    return this.#body as Body;
  }

  /** As reading `body`. Called by the router before the handler of an action with a codec of its own. */
  decodeNow(): void {
    if (this.#body === UNREAD) this.#body = this.#decode();
  }

  /** A codec that fails otherwise than its contract says has been given something that it cannot read, too. */
  #decode(): unknown {
    try {
      return this.#source.decode(this.packet);
    } catch (thrown) {
      if (thrown instanceof PorticoError) throw thrown;
      throw invalidBody(this.format, 'it cannot be decoded', thrown);
    }
  }

  /** Aborted when the session begins to close. */
  get signal(): AbortSignal {
    return this.session.signal;
  }

  /** A place for what middleware hands on to the handler. */
  get attributes(): Attributes {
    this.#attributes ??= new Attributes();
    return this.#attributes;
  }

  /** Whether a reply was sent, an error reply included. */
  get isReplied(): boolean {
    return this.#isReplied;
  }

  get isAborted(): boolean {
    return this.#isAborted;
  }

  /**
   * Sends the reply now, in place of the value that the handler returns. Returns what `session.send` does. Throws StateError
   * WRONG_STATE for a second reply, ListenerError ENCODE_FAILED for a value that the codec does not take, and as `session.send`.
   */
  reply(value: unknown): boolean {
    if (this.#isReplied) throw new StateError('WRONG_STATE', `action ${this.action}: expected one reply, given a second`);
    const packet = this.#encode(value);
    const isBelowMark = this.session.send(packet);
    this.#isReplied = true;
    this.#source.replied();
    return isBelowMark;
  }

  #encode(value: unknown): ActionPacket {
    try {
      return this.#source.encodeReply(this.packet, value);
    } catch (thrown) {
      const text = `action ${this.action}: the reply cannot be encoded: ${describeThrown(thrown)}`;
      throw new ListenerError('ENCODE_FAILED', 'message', text, { cause: thrown });
    }
  }

  /** Sends this packet as the reply. Called by the router for error replies. */
  replyPacket(packet: ActionPacket): void {
    this.session.send(packet);
    this.#isReplied = true;
  }

  /** Sends another packet to the same peer, with seq 0 and in the same format. Returns what `session.send` does. */
  push<Value>(action: number | Action<Value, unknown>, value: Value): boolean {
    // A push reads nothing: only the type of what is sent matters.
    return this.#source.push(this.session, action as number | Action<unknown>, value);
  }

  /** Ends the way of this packet: `next` does nothing any more, and no reply of any kind follows. */
  abort(): void {
    this.#isAborted = true;
  }
}
