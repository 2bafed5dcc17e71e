import { type AttributeKey, attributeKey } from '../base/attributes.ts';
import { StateError } from '../base/errors.ts';
import type { CloseCode } from '../session/close-reason.ts';
import type { Session } from '../session/session.ts';
import { type CommandMessage, Frame } from './command-handler.ts';
import type { Peer } from './peer.ts';
import { COMMAND_ID, COMMAND_SUBPROTOCOL, encodeControl, type Goodbye } from './wire.ts';

export type CommandSession = Session<CommandMessage>;
export type CommandProfile = 'native' | 'knet';

/** How a session is to be closed. */
export interface LinkEnd extends Goodbye {
  readonly code?: CloseCode;
  readonly drainTimeoutMs?: number;
}

/** Larger messages are passed on by reference, whether they are shared or not. */
const COPY_BYTES = 16_384;

const REQUEST_KEY = 'portico.ws-request';

/** The subprotocol that a WebSocket session has agreed on. Found by the name of the key, because the key is the transport's own. */
export function subprotocolOf(session: CommandSession): string {
  for (const [key, value] of session.attributes) {
    const named = key as AttributeKey<unknown> | string | null;
    if (typeof named !== 'object' || named?.name !== REQUEST_KEY || typeof value !== 'object' || value === null) continue;
    const subprotocol: unknown = Reflect.get(value, 'subprotocol');
    return typeof subprotocol === 'string' ? subprotocol : '';
  }
  return '';
}

/** What a session speaks: WebSockets as they agreed, streams as the hub was told. */
export function profileOf(session: CommandSession, hasNative: boolean, ofStreams: CommandProfile): CommandProfile {
  if (!hasNative) return 'knet';
  if (session.connection.kind === 'stream') return ofStreams;
  return subprotocolOf(session) === COMMAND_SUBPROTOCOL ? 'native' : 'knet';
}

const LINK: AttributeKey<Link> = attributeKey('portico.command-link');

/** The link of a session, or of what stands in for it. */
export function linkOf(session: CommandSession): Link | undefined {
  return session.attributes.get(LINK);
}

/**
 * One connection of one client. A client that resumes has another one, and what still comes of this one then means nothing: whoever
 * asks compares it with `peer.link`.
 */
export class Link {
  readonly session: CommandSession;
  readonly profile: CommandProfile;
  readonly #isStream: boolean;
  /** Before HELLO was answered there is none. */
  peer: Peer | undefined;
  /** `waiting` for HELLO or the answer to it; `over` when this side has ended it, so that what comes is ignored. */
  phase: 'waiting' | 'checking' | 'open' | 'over' = 'waiting';
  readonly openedAtMs: number;
  /** The client said that it leaves for good. */
  hasLeft: { readonly status: number; readonly reason: string } | undefined;
  /** Ended here, and yet a loss: the client may resume. */
  isLost = false;
  isPaused = false;
  /** Something came since WELCOME: the client has the new token. */
  isConfirmed = false;

  constructor(session: CommandSession, profile: CommandProfile, nowMs: number) {
    this.session = session;
    this.profile = profile;
    this.#isStream = session.connection.kind === 'stream';
    this.openedAtMs = nowMs;
    session.attributes.set(LINK, this);
  }

  /** Below this the peer takes what it is given in time. */
  get isWritable(): boolean {
    return this.session.isWritable;
  }

  /**
   * Undefined: the connection did not take it. Otherwise whether the queue is below its high-water mark. `isShared`: it goes to others too, and is
   * passed on by reference; else it is copied behind what waits already.
   */
  send(message: CommandMessage, isShared = false): boolean | undefined {
    const { session } = this;
    const { connection } = session;
    const lostBefore = connection.lostPackages;
    try {
      const isEncoded = message instanceof Frame && (isShared || message.length > COPY_BYTES);
      const isBelowMark = isEncoded ? session.sendEncoded(this.#isStream ? message.stream : message.message) : session.send(message);
      if (isBelowMark) return true;
      return session.isClosed || session.hasEnded || connection.lostPackages > lostBefore ? undefined : false;
    } catch (thrown) {
      if (thrown instanceof StateError) return undefined;
      throw thrown;
    }
  }

  sendControl(message: Uint8Array): void {
    this.send(Frame.ofMessage(message));
  }

  /** Says why, where there are words for it, and closes. */
  end({ status, reason, retryAfterMs, isFatal, code = 'NORMAL', drainTimeoutMs }: LinkEnd): void {
    if (this.phase === 'over') return;
    this.phase = 'over';
    const { session } = this;
    if (this.profile === 'native' && !session.isClosed) {
      const goodbye: Goodbye = {
        status,
        reason,
        ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
        ...(isFatal === undefined ? {} : { isFatal }),
      };
      this.sendControl(encodeControl(COMMAND_ID.GOODBYE, goodbye));
    }
    this.unpause();
    void session.close({ code, status, reason, ...(drainTimeoutMs === undefined ? {} : { drainTimeoutMs }) });
  }

  /** Drops the connection, after which the client may resume. */
  lose(): void {
    if (this.phase === 'over') return;
    this.phase = 'over';
    this.isLost = true;
    this.session.destroy();
  }

  pause(): void {
    if (this.isPaused) return;
    this.isPaused = true;
    this.session.pause();
  }

  unpause(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    // While it was not read, it could not be heard.
    this.session.touch();
    this.session.resume();
  }
}
