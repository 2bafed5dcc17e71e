import { WheelTimer } from '../base/wheel.ts';
import type { CloseReason } from '../session/close-reason.ts';
import type { CommandMessage } from './command-handler.ts';
import { disconnectOf, isLoss } from './disconnect.ts';
import { FrontDoor } from './front-door.ts';
import type { HubCore } from './hub-core.ts';
import { type CommandSession, Link, linkOf, profileOf } from './link.ts';
import type { Peer } from './peer.ts';
import { ACK_DELAY_MS } from './replay.ts';
import {
  COMMAND_ID,
  COMMAND_STATUS,
  decodeCredit,
  decodeGoodbye,
  decodeNumber,
  decodeReply,
  decodeVolatile,
  encodeMessage,
  FIRST_RESERVED_ID,
  isCounted,
  isFreeId,
} from './wire.ts';

/** How often the clock is looked at for dead connections, late HELLOs, and clients that stay away. */
const CHECK_MS = 1_000;
/** A client is dead after so many heartbeats without a word. */
const DEAD_HEARTBEATS = 2.5;
const MAX_PING_BYTES = 8;

/** What comes of connections: control messages are dealt with at once, whatever else waits. */
export class Connections {
  readonly door: FrontDoor;
  readonly #hub: HubCore;
  readonly #check = new WheelTimer({ onTimer: () => this.#onCheck() });
  readonly #ack = new WheelTimer({ onTimer: () => this.#sendAcks() });
  #unacknowledged = new Set<Peer>();

  constructor(hub: HubCore) {
    this.#hub = hub;
    this.door = new FrontDoor(hub);
  }

  onOpen(session: CommandSession): void | Promise<void> {
    const { wheel, links, settings, isClosing } = this.#hub;
    const link = new Link(session, profileOf(session, settings.native, settings.streamProfile), wheel.now());
    if (isClosing) {
      link.end({ status: 1001, reason: 'the server is closing', code: 'GOING_AWAY', retryAfterMs: settings.retryAfterMs });
      return undefined;
    }
    links.add(link);
    this.#watch();
    return link.profile === 'knet' ? this.door.admit(link) : undefined;
  }

  onMessage(session: CommandSession, message: CommandMessage): void {
    const link = linkOf(session);
    if (link === undefined || link.phase === 'over') return;
    const { peer } = link;
    if (link.profile === 'knet') {
      if (!this.#hub.isClosing) peer?.receive(message);
    } else if (peer === undefined || link.phase !== 'open') {
      this.#onEarly(link, message);
    } else {
      this.#onNative(link, peer, message);
    }
  }

  #onEarly(link: Link, { id, payload }: CommandMessage): void {
    if (id === COMMAND_ID.PING && payload.length <= MAX_PING_BYTES) link.sendControl(encodeMessage(COMMAND_ID.PONG, payload));
    else if (id === COMMAND_ID.GOODBYE) this.#onGoodbye(link, payload);
    else if (id === COMMAND_ID.HELLO && link.phase === 'waiting') void this.door.onHello(link, payload);
    else if (id !== COMMAND_ID.PONG) this.door.violated(link, 'message but HELLO before WELCOME');
  }

  #onNative(link: Link, peer: Peer, message: CommandMessage): void {
    const { id, payload } = message;
    const { replay } = peer;
    if (!link.isConfirmed) {
      link.isConfirmed = true;
      this.#hub.registry.confirmToken(peer);
    }
    if (replay === undefined) return;
    if (isCounted(id)) {
      const isNew = replay.received();
      if (replay.isAckDue) peer.sendAck();
      else if (replay.unacknowledged === 1) this.#ackLater(peer);
      if (!isNew) {
        this.#hub.counters.repeated++;
        return;
      }
    }
    const isForHandlers = id < FIRST_RESERVED_ID || id > COMMAND_ID.CREDIT || id === COMMAND_ID.CALL || id === COMMAND_ID.ROOM;
    if (isForHandlers) this.#receive(peer, message);
    else this.#onControl(link, peer, id, payload);
  }

  #receive(peer: Peer, message: CommandMessage): void {
    if (!this.#hub.isClosing) peer.receive(message);
  }

  #onControl(link: Link, peer: Peer, id: number, payload: Uint8Array): void {
    let isUnderstood = true;
    switch (id) {
      case COMMAND_ID.PING:
        isUnderstood = payload.length <= MAX_PING_BYTES;
        if (isUnderstood) link.sendControl(encodeMessage(COMMAND_ID.PONG, payload));
        break;
      case COMMAND_ID.PONG:
        break;
      case COMMAND_ID.ACK: {
        const seq = decodeNumber(payload);
        isUnderstood = seq !== undefined && peer.replay?.acknowledged(seq) === true;
        peer.wake();
        break;
      }
      case COMMAND_ID.SEQ: {
        const seq = decodeNumber(payload);
        isUnderstood = seq !== undefined && peer.replay?.expect(seq) === true;
        break;
      }
      case COMMAND_ID.VOLATILE: {
        const inner = decodeVolatile(payload);
        isUnderstood = inner !== undefined && (isFreeId(inner.id) || inner.id === COMMAND_ID.ROOM);
        // That of a room stays wrapped: it is passed on as a volatile one.
        if (inner !== undefined && isUnderstood) this.#receive(peer, inner.id === COMMAND_ID.ROOM ? { id, payload } : inner);
        break;
      }
      case COMMAND_ID.REPLY: {
        const reply = decodeReply(payload);
        isUnderstood = reply !== undefined;
        if (reply !== undefined) peer.outgoing.onReply(reply.call, reply.kind, reply.payload);
        break;
      }
      case COMMAND_ID.CANCEL: {
        const call = decodeNumber(payload);
        isUnderstood = call !== undefined;
        if (call !== undefined) peer.cancel(call);
        break;
      }
      case COMMAND_ID.CREDIT: {
        const credit = decodeCredit(payload);
        isUnderstood = credit !== undefined;
        if (credit !== undefined) peer.credit(credit.call, credit.items);
        break;
      }
      case COMMAND_ID.GOODBYE:
        this.#onGoodbye(link, payload);
        break;
      case COMMAND_ID.HELLO:
        isUnderstood = false;
        break;
      default:
        this.#hub.counters.unknown++;
    }
    if (!isUnderstood) this.#hub.violated(peer, `control message ${id.toString(16)} like this`);
  }

  #onGoodbye(link: Link, payload: Uint8Array): void {
    const { status, reason } = decodeGoodbye(payload) ?? { status: 1000, reason: '' };
    link.hasLeft = { status, reason };
    link.phase = 'over';
    link.unpause();
    void link.session.close();
  }

  onClose(session: CommandSession, reason: CloseReason): void {
    const link = linkOf(session);
    if (link === undefined) return;
    const { registry, settings, wheel, isClosing } = this.#hub;
    this.#hub.links.delete(link);
    link.phase = 'over';
    const { peer } = link;
    if (peer === undefined || peer.link !== link) return;
    peer.link = undefined;
    const end = disconnectOf(link, reason);
    if (peer.state === 'over' || peer.token === undefined || isClosing || !isLoss(link, reason)) {
      this.#hub.endPeer(peer, end);
      return;
    }
    peer.lastEnd = end;
    const evicted = registry.setAway(peer, wheel.now() + settings.retentionMs);
    this.#watch();
    this.#tellAway(peer);
    if (evicted === undefined) return;
    this.#hub.counters.evicted++;
    this.#endAway(evicted);
  }

  #tellAway(peer: Peer): void {
    try {
      this.#hub.settings.onAway?.(peer.client);
    } catch (thrown) {
      this.#hub.report(thrown, peer, undefined);
    }
  }

  #endAway(peer: Peer): void {
    if (peer.lastEnd !== undefined) this.#hub.endPeer(peer, peer.lastEnd);
  }

  // --- time ---

  #watch(): void {
    if (!this.#check.isArmed) this.#hub.wheel.arm(this.#check, CHECK_MS);
  }

  #ackLater(peer: Peer): void {
    this.#unacknowledged.add(peer);
    if (!this.#ack.isArmed) this.#hub.wheel.arm(this.#ack, ACK_DELAY_MS);
  }

  #sendAcks(): void {
    const peers = this.#unacknowledged;
    this.#unacknowledged = new Set();
    for (const peer of peers) if ((peer.replay?.unacknowledged ?? 0) > 0) peer.sendAck();
  }

  #onCheck(): void {
    const { links, registry, settings, wheel, counters } = this.#hub;
    const nowMs = wheel.now();
    for (const peer of registry.expired(nowMs)) {
      counters.expired++;
      this.#endAway(peer);
    }
    const deadMs = settings.heartbeatMs * DEAD_HEARTBEATS;
    for (const link of links) {
      if (link.phase === 'waiting' || link.phase === 'checking') {
        if (nowMs - link.openedAtMs >= settings.openTimeoutMs) this.#onLateOpen(link);
      } else if (link.phase === 'open' && link.profile === 'native' && !link.isPaused && nowMs - link.session.lastActiveMs >= deadMs) {
        counters.dead++;
        link.lose();
      }
    }
    if (links.size > 0 || registry.away > 0) this.#watch();
  }

  #onLateOpen(link: Link): void {
    this.#hub.counters.refused++;
    link.end({ status: COMMAND_STATUS.MALFORMED, reason: 'no HELLO, or no answer to it, in time', isFatal: false, code: 'TIMEOUT' });
  }

  /** No timer is left. */
  stop(): void {
    this.#check.cancel();
    this.#ack.cancel();
  }
}
