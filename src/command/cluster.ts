import type { Backplane, BackplaneGap, BackplaneMember, BackplaneSink } from '../backplane/backplane.ts';
import type { PorticoError } from '../base/errors.ts';
import { decodeText, encodeText, readUint32, writeUint32 } from './wire.ts';

/** A message between hubs. */
export interface ClusterMessage {
  readonly id: number;
  readonly payload: Uint8Array;
  readonly isVolatile: boolean;
  /** Clients that are left out; of a message for one client, that client. */
  readonly clients: readonly string[];
}

/** What the other hubs have to say. */
export interface ClusterOwner {
  onBroadcast(message: ClusterMessage): void;
  onRoomMessage(room: string, message: ClusterMessage): void;
  onDirect(clientId: string, message: ClusterMessage): void;
  onRemoteMember(room: string, clientId: string, state: Uint8Array | undefined): void;
  onGap(gap: BackplaneGap): void;
  onClusterError(error: PorticoError): void;
}

const ALL = 'all';
const DIRECT = 'to';
const ROOM = 'room:';
const MAX_CLIENTS = 0xffff;
const MAX_ID_BYTES = 0xff;

/**
 * The hub's side of a backplane. Before it has been opened nothing goes out.
 *
 * ```
 *   a message: uint8 volatile | uint16 n | n x (uint8 bytes, client id) | uint32 id | payload
 * ```
 */
export class Cluster implements BackplaneSink {
  readonly #backplane: Backplane;
  readonly #owner: ClusterOwner;
  #isOpen = false;

  constructor(backplane: Backplane, owner: ClusterOwner) {
    this.#backplane = backplane;
    this.#owner = owner;
  }

  async open(): Promise<void> {
    await this.#backplane.open(this);
    this.#isOpen = true;
    this.#backplane.subscribe(ALL);
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  async close(): Promise<void> {
    this.#isOpen = false;
    await this.#backplane.close();
  }

  broadcast(message: ClusterMessage): void {
    if (this.#isOpen) this.#backplane.publish(ALL, encode(message));
  }

  toRoom(room: string, message: ClusterMessage): void {
    if (this.#isOpen) this.#backplane.publish(ROOM + room, encode(message));
  }

  /** False when no hub has such a client. */
  async toClient(clientId: string, message: Omit<ClusterMessage, 'clients'>): Promise<boolean> {
    const nodeId = this.#isOpen ? await this.#backplane.locate(clientId) : undefined;
    if (nodeId === undefined || nodeId === this.#backplane.nodeId) return false;
    this.#backplane.publishTo(nodeId, DIRECT, encode({ ...message, clients: [clientId] }));
    return true;
  }

  /** False when the backplane takes no more. */
  openRoom(room: string, hasPresence: boolean): boolean {
    if (!this.#isOpen) return true;
    if (!this.#backplane.subscribe(ROOM + room)) return false;
    if (!hasPresence || this.#backplane.follow(room)) return true;
    this.#backplane.unsubscribe(ROOM + room);
    return false;
  }

  closeRoom(room: string, hasPresence: boolean): void {
    if (!this.#isOpen) return;
    this.#backplane.unsubscribe(ROOM + room);
    if (hasPresence) this.#backplane.unfollow(room);
  }

  setMember(room: string, clientId: string, state: Uint8Array): boolean {
    return !this.#isOpen || this.#backplane.setMember(room, clientId, state);
  }

  removeMember(room: string, clientId: string): void {
    if (this.#isOpen) this.#backplane.removeMember(room, clientId);
  }

  async members(room: string): Promise<[id: string, state: Uint8Array][]> {
    if (!this.#isOpen) return [];
    const members: ReadonlyMap<string, BackplaneMember> = await this.#backplane.members(room);
    return [...members].map(([id, member]) => [id, member.state]);
  }

  register(clientId: string): void {
    if (this.#isOpen) this.#backplane.register(clientId);
  }

  unregister(clientId: string): void {
    if (this.#isOpen) this.#backplane.unregister(clientId);
  }

  // --- from the backplane ---

  onMessage(channel: string, bytes: Uint8Array): void {
    const message = decode(bytes);
    if (message === undefined) return;
    const [first] = message.clients;
    if (channel === ALL) this.#owner.onBroadcast(message);
    else if (channel.startsWith(ROOM)) this.#owner.onRoomMessage(channel.slice(ROOM.length), message);
    else if (channel === DIRECT && first !== undefined) this.#owner.onDirect(first, message);
  }

  onMember(room: string, memberId: string, state: Uint8Array | undefined): void {
    this.#owner.onRemoteMember(room, memberId, state);
  }

  onNodeDown(): void {
    // Its members have been taken out one by one.
  }

  onGap(gap: BackplaneGap): void {
    this.#owner.onGap(gap);
  }

  onError(error: PorticoError): void {
    this.#owner.onClusterError(error);
  }
}

function encode({ id, payload, isVolatile, clients }: ClusterMessage): Uint8Array {
  const ids = clients
    .slice(0, MAX_CLIENTS)
    .map(encodeText)
    .filter((text) => text.length <= MAX_ID_BYTES);
  const size = ids.reduce((sum, { length }) => sum + 1 + length, 3 + 4 + payload.length);
  const bytes = new Uint8Array(size);
  bytes[0] = isVolatile ? 1 : 0;
  bytes[1] = ids.length >>> 8;
  bytes[2] = ids.length;
  let at = 3;
  for (const text of ids) {
    bytes[at] = text.length;
    bytes.set(text, at + 1);
    at += 1 + text.length;
  }
  writeUint32(bytes, at, id);
  bytes.set(payload, at + 4);
  return bytes;
}

/** undefined for what no hub has written. */
function decode(bytes: Uint8Array): ClusterMessage | undefined {
  const clients: string[] = [];
  const count = ((bytes[1] ?? 0) << 8) | (bytes[2] ?? 0);
  let at = 3;
  for (let index = 0; index < count; index++) {
    const end = at + 1 + (bytes[at] ?? 0);
    const text = end <= bytes.length ? decodeText(bytes.subarray(at + 1, end)) : undefined;
    if (text === undefined) return undefined;
    clients.push(text);
    at = end;
  }
  if (at + 4 > bytes.length) return undefined;
  return { id: readUint32(bytes, at), payload: bytes.subarray(at + 4), isVolatile: bytes[0] === 1, clients };
}
