import { randomUUID } from 'node:crypto';
import { PorticoError } from '../base/errors.ts';
import { invalid } from '../base/option.ts';
import { isThenable } from '../base/thenable.ts';
import { isOwnStatus } from '../session/close-reason.ts';
import type { HubCore } from './hub-core.ts';
import type { Admission } from './hub-options.ts';
import type { Link } from './link.ts';
import { Peer } from './peer.ts';
import { isPlainJson } from './plain-json.ts';
import { COMMAND_ID, COMMAND_STATUS, decodeHello, encodeControl, type Hello, isRoomName } from './wire.ts';

type Refusal = NonNullable<Admission['refuse']>;

/** Lets connections in: as a new client, or as one that comes back. */
export class FrontDoor {
  readonly #hub: HubCore;

  constructor(hub: HubCore) {
    this.#hub = hub;
  }

  /** A client of knet's profile is there with its connection; its messages wait for the promise. */
  async admit(link: Link): Promise<void> {
    link.phase = 'checking';
    const attributes = await this.#authenticate(link, undefined, false);
    if (attributes === undefined || link.phase !== 'checking' || !this.#hasRoom(link)) return;
    const peer = this.#newPeer(link, attributes);
    link.phase = 'open';
    await this.#connect(peer);
  }

  /** Never rejects. */
  async onHello(link: Link, payload: Uint8Array): Promise<void> {
    try {
      await this.#onHello(link, payload);
    } catch (thrown) {
      // What a hook gave is not what it may give.
      this.#hub.report(thrown, link.peer, COMMAND_ID.HELLO);
      link.end({ status: 1011, reason: '', code: 'INTERNAL' });
    }
  }

  async #onHello(link: Link, payload: Uint8Array): Promise<void> {
    const { registry, counters } = this.#hub;
    const hello = isPlainJson(payload) ? decodeHello(payload) : undefined;
    if (hello === undefined) {
      this.violated(link, 'HELLO that cannot be read');
      return;
    }
    link.phase = 'checking';
    const { token } = hello;
    const isKnown = token !== undefined && registry.byToken(token) !== undefined;
    const attributes = await this.#authenticate(link, hello.auth, isKnown);
    if (attributes === undefined || link.phase !== 'checking') return;
    // Only now: the client may have been ended meanwhile.
    const peer = token === undefined ? undefined : registry.byToken(token);
    if (peer !== undefined && this.#canResume(peer, hello)) {
      this.#resume(peer, link, hello, attributes);
      return;
    }
    if (token !== undefined) counters.unresumed++;
    if (peer !== undefined) this.#replace(peer);
    if (this.#hasRoom(link)) await this.#welcome(link, hello, attributes);
  }

  violated(link: Link, what: string): void {
    this.#hub.counters.violations++;
    link.end({ status: COMMAND_STATUS.MALFORMED, reason: `expected no ${what}`, isFatal: true, code: 'PROTOCOL' });
  }

  /** The attributes that it was given; undefined when it was refused. */
  async #authenticate(link: Link, auth: unknown, isResuming: boolean): Promise<Iterable<readonly [unknown, unknown]> | undefined> {
    const { authenticate } = this.#hub.settings;
    if (authenticate === undefined) return [];
    try {
      const { session, profile } = link;
      const admission = await authenticate({ session, profile, auth, isResuming });
      if (admission === true) return [];
      const { attributes = [], refuse }: Admission = admission === false ? { refuse: {} } : admission;
      if (refuse === undefined) return [...attributes];
      this.#refuse(link, refuse);
    } catch (thrown) {
      this.#hub.report(thrown, undefined, undefined);
      this.#refuse(link, {});
    }
    return undefined;
  }

  #refuse(
    link: Link,
    { status = COMMAND_STATUS.UNAUTHENTICATED, reason = 'not authenticated', retryAfterMs, isFatal = true }: Refusal,
  ): void {
    this.#hub.counters.refused++;
    if (!isOwnStatus(status)) throw invalid('authenticate refuse.status', 'a number from 3000 to 4999, or that of a code', status);
    link.end({ status, reason, isFatal, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });
  }

  #hasRoom(link: Link): boolean {
    const { registry, settings } = this.#hub;
    if (registry.all.size < settings.maxClients) return true;
    this.#refuse(link, { status: COMMAND_STATUS.LIMITED, reason: 'too many clients', isFatal: false, retryAfterMs: settings.retryAfterMs });
    return false;
  }

  #newPeer(link: Link, attributes: Iterable<readonly [unknown, unknown]>): Peer {
    const peer = new Peer(randomUUID(), this.#hub, link.profile);
    for (const [key, value] of attributes) peer.attributes.set(key, value);
    link.peer = peer;
    peer.attached(link);
    this.#hub.registry.add(peer);
    return peer;
  }

  // --- a new client ---

  async #welcome(link: Link, hello: Hello, attributes: Iterable<readonly [unknown, unknown]>): Promise<void> {
    const peer = this.#newPeer(link, attributes);
    for (const { name, state } of (hello.rooms ?? []).slice(0, this.#hub.settings.maxRoomsPerClient)) await this.#rejoin(peer, name, state);
    if (peer.state === 'over' || link.phase !== 'checking') return;
    link.phase = 'open';
    this.#sendWelcome(peer, link, false);
    // `authorizeJoin` has sent something: it has a number, and waits.
    if ((peer.replay?.sentSeq ?? 0) > 0) peer.repeat();
    const rooms = [...peer.rooms];
    await this.#connect(peer);
    await this.#hub.rooms.tellAll(peer, rooms);
  }

  async #rejoin(peer: Peer, name: string, state: unknown): Promise<void> {
    try {
      if (await this.mayJoin(peer, name, state)) this.#hub.rooms.join(peer, name, state);
    } catch (thrown) {
      // A room that is full is told by its absence from WELCOME.
      if (!(thrown instanceof PorticoError)) this.#hub.report(thrown, peer, COMMAND_ID.JOIN);
    }
  }

  async mayJoin(peer: Peer, room: string, state: unknown): Promise<boolean> {
    const isAllowed = isRoomName(room) && (await this.#hub.settings.authorizeJoin?.(peer.client, room, state)) === true;
    if (!isAllowed) this.#hub.counters.joinsRefused++;
    return isAllowed && peer.state !== 'over';
  }

  #sendWelcome(peer: Peer, link: Link, recovered: boolean): void {
    const { retentionMs, heartbeatMs, maxPayloadBytes } = this.#hub.settings;
    const token = retentionMs === 0 ? undefined : this.#hub.registry.issueToken(peer);
    const welcome = {
      id: peer.id,
      ...(token === undefined ? {} : { token }),
      recovered,
      received: peer.replay?.receivedSeq ?? 0,
      heartbeatMs,
      retentionMs,
      maxPayloadBytes,
      rooms: [...peer.rooms],
    };
    link.sendControl(encodeControl(COMMAND_ID.WELCOME, welcome));
  }

  /** `onConnect` first, then messages and broadcasts. Nothing is awaited where nothing is pending. */
  async #connect(peer: Peer): Promise<void> {
    const { settings, registry, cluster } = this.#hub;
    this.#hub.know(peer);
    try {
      const pending = settings.onConnect?.(peer.client);
      if (isThenable(pending)) await pending;
    } catch (thrown) {
      this.#hub.report(thrown, peer, undefined);
      this.#hub.closePeer(peer, { status: 1011, reason: '', code: 'INTERNAL', isFatal: false });
    }
    if (peer.state === 'over') return;
    peer.state = 'ready';
    registry.addReady(peer);
    cluster?.register(peer.id);
    peer.runWaiting();
  }

  // --- one that comes back ---

  #canResume(peer: Peer, { received = 0, oldest }: Hello): boolean {
    const { replay } = peer;
    if (replay === undefined || peer.state === 'over' || peer.isForgotten) return false;
    replay.forgetOld(this.#hub.wheel.now());
    return replay.canRepeatAfter(received) && (oldest === undefined || replay.lacksNothingBefore(oldest));
  }

  #resume(peer: Peer, link: Link, { received = 0 }: Hello, attributes: Iterable<readonly [unknown, unknown]>): void {
    const { registry, counters, settings } = this.#hub;
    this.#detach(peer);
    registry.setBack(peer);
    for (const [key, value] of attributes) peer.attributes.set(key, value);
    peer.replay?.acknowledged(received);
    peer.replay?.resumed();
    link.peer = peer;
    link.phase = 'open';
    peer.attached(link);
    this.#sendWelcome(peer, link, true);
    peer.repeat();
    counters.resumed++;
    try {
      settings.onResume?.(peer.client);
    } catch (thrown) {
      this.#hub.report(thrown, peer, undefined);
    }
    peer.wake();
  }

  /** Its token was shown, and it cannot go on: a new client takes its place. */
  #replace(peer: Peer): void {
    this.#detach(peer);
    this.#hub.endPeer(peer, { status: 1006, reason: 'could not be resumed', by: 'network', wasClean: false, error: undefined });
  }

  /** What still comes of the connection before means nothing. */
  #detach(peer: Peer): void {
    const { link } = peer;
    if (link === undefined) return;
    peer.link = undefined;
    link.peer = undefined;
    link.end({ status: COMMAND_STATUS.REPLACED, reason: 'replaced by a newer connection', isFatal: true });
  }
}
