import type { DirectoryEntry } from './bus.ts';

/**
 * What nodes send each other over a bus. Numbers are big-endian and unsigned.
 *
 * ```
 *  b7 | kind u8 | n u8 | n bytes: id of the sending node | ...
 *  MESSAGE  stream u32 | seq u32 | bytes
 *  DIRECT   stream u32 | seq u32 | name: channel | bytes
 *  MEMBER   stream u32 | seq u32 | name: member | version f64 | 1 | state      or  ... | version f64 | 0  for one who left
 *  BEAT     flags u8 | any number of: name: topic | stream u32 | seq u32       the last numbers on the topics used of late
 *  QUERY    query u32 | what u8 | name: room or client
 *  REPLY    query u32 | flags u8 | any number of: name: room | name: member | version f64 | size u32 | state
 *  name     n u16 | n bytes of UTF-8
 * ```
 */
export const FRAME = { BEAT: 1, MESSAGE: 2, DIRECT: 3, MEMBER: 4, QUERY: 5, REPLY: 6 } as const;
export type FrameKind = (typeof FRAME)[keyof typeof FRAME];

/** NEW: had no members until now. BACK: was cut off. BYE: goes. ASKS: wants to hear of all others. */
export const BEAT = { NEW: 1, BACK: 2, BYE: 4, ASKS: 8 } as const;

export const QUERY = { ALL: 0, ROOM: 1, CLIENT: 2 } as const;

export const REPLY = { LAST: 1, FOUND: 2 } as const;

export const NODES_TOPIC = 'n';

export function nodeTopic(nodeId: string): string {
  return `n.${nodeId}`;
}

export function channelTopic(channel: string): string {
  return `c.${channel}`;
}

export function roomTopic(room: string): string {
  return `r.${room}`;
}

const MAGIC = 0xb7;
const MAX_TOPIC_BYTES = 320;

/** Where a sender stands on one topic. */
export interface Position {
  readonly stream: number;
  readonly seq: number;
}

export interface RoomEntry extends DirectoryEntry {
  readonly room: string;
}

/** Makes the frames of one node. */
export class FrameWriter {
  readonly #nodeId: Buffer;

  constructor(nodeId: string) {
    this.#nodeId = Buffer.from(nodeId);
  }

  message(at: Position, bytes: Uint8Array): Buffer {
    const frame = this.#begin(FRAME.MESSAGE, 8 + bytes.length);
    frame.set(bytes, this.#position(frame, at));
    return frame;
  }

  direct(at: Position, channel: string, bytes: Uint8Array): Buffer {
    const frame = this.#begin(FRAME.DIRECT, 10 + Buffer.byteLength(channel) + bytes.length);
    frame.set(bytes, writeName(frame, channel, this.#position(frame, at)));
    return frame;
  }

  member(at: Position, memberId: string, version: number, state: Uint8Array | undefined): Buffer {
    const frame = this.#begin(FRAME.MEMBER, 19 + Buffer.byteLength(memberId) + (state?.length ?? 0));
    let offset = writeName(frame, memberId, this.#position(frame, at));
    offset = frame.writeDoubleBE(version, offset);
    offset = frame.writeUInt8(state === undefined ? 0 : 1, offset);
    if (state !== undefined) frame.set(state, offset);
    return frame;
  }

  beat(flags: number, positions: readonly (readonly [string, Position])[]): Buffer {
    const size = positions.reduce((sum, [topic]) => sum + 10 + Buffer.byteLength(topic), 1);
    const frame = this.#begin(FRAME.BEAT, size);
    let offset = frame.writeUInt8(flags, this.#headerBytes);
    for (const [topic, { stream, seq }] of positions) {
      offset = writeName(frame, topic, offset);
      offset = frame.writeUInt32BE(seq, frame.writeUInt32BE(stream, offset));
    }
    return frame;
  }

  query(query: number, what: number, name: string): Buffer {
    const frame = this.#begin(FRAME.QUERY, 7 + Buffer.byteLength(name));
    writeName(frame, name, frame.writeUInt8(what, frame.writeUInt32BE(query, this.#headerBytes)));
    return frame;
  }

  reply(query: number, flags: number, entries: readonly RoomEntry[]): Buffer {
    const frame = this.#begin(
      FRAME.REPLY,
      entries.reduce((sum, entry) => sum + entryBytes(entry), 5),
    );
    let offset = frame.writeUInt8(flags, frame.writeUInt32BE(query, this.#headerBytes));
    for (const { room, memberId, version, state } of entries) {
      offset = writeName(frame, memberId, writeName(frame, room, offset));
      offset = frame.writeUInt32BE(state.length, frame.writeDoubleBE(version, offset));
      frame.set(state, offset);
      offset += state.length;
    }
    return frame;
  }

  get #headerBytes(): number {
    return 3 + this.#nodeId.length;
  }

  #begin(kind: FrameKind, bodyBytes: number): Buffer {
    const frame = Buffer.allocUnsafe(this.#headerBytes + bodyBytes);
    frame[0] = MAGIC;
    frame[1] = kind;
    frame[2] = this.#nodeId.length;
    frame.set(this.#nodeId, 3);
    return frame;
  }

  #position(frame: Buffer, { stream, seq }: Position): number {
    return frame.writeUInt32BE(seq, frame.writeUInt32BE(stream, this.#headerBytes));
  }
}

/** Whether a frame carries what was given to `publish` or `publishTo`. */
export function isOfUser(frame: Uint8Array): boolean {
  return frame[1] === FRAME.MESSAGE || frame[1] === FRAME.DIRECT;
}

export function entryBytes({ room, memberId, state }: RoomEntry): number {
  return 16 + Buffer.byteLength(room) + Buffer.byteLength(memberId) + state.length;
}

function writeName(frame: Buffer, name: string, offset: number): number {
  const size = frame.write(name, offset + 2);
  frame.writeUInt16BE(size, offset);
  return offset + 2 + size;
}

/** Reads a frame from its beginning to its end. Every method throws a RangeError when the bytes are not what they should be. */
export class FrameReader {
  readonly kind: number;
  readonly nodeId: string;
  readonly #bytes: Buffer;
  #offset: number;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#offset = 3;
    if (this.#bytes.readUInt8(0) !== MAGIC) throw new RangeError('not a frame');
    this.kind = this.#bytes.readUInt8(1);
    const size = this.#bytes.readUInt8(2);
    if (size === 0) throw new RangeError('a frame of nobody');
    this.nodeId = this.#text(size);
  }

  get isAtEnd(): boolean {
    return this.#offset === this.#bytes.length;
  }

  uint8(): number {
    return this.#bytes.readUInt8(this.#forward(1));
  }

  uint32(): number {
    return this.#bytes.readUInt32BE(this.#forward(4));
  }

  version(): number {
    const version = this.#bytes.readDoubleBE(this.#forward(8));
    if (!Number.isFinite(version) || version < 0) throw new RangeError('not a version');
    return version;
  }

  position(): Position {
    const stream = this.uint32();
    return { stream, seq: this.uint32() };
  }

  name(): string {
    const size = this.#bytes.readUInt16BE(this.#forward(2));
    if (size > MAX_TOPIC_BYTES) throw new RangeError('a name that is too long');
    return this.#text(size);
  }

  bytes(size: number): Uint8Array {
    const start = this.#forward(size);
    return this.#bytes.subarray(start, start + size);
  }

  rest(): Uint8Array {
    return this.bytes(this.#bytes.length - this.#offset);
  }

  entry(): RoomEntry {
    const room = this.name();
    const memberId = this.name();
    const version = this.version();
    return { room, memberId, version, state: this.bytes(this.uint32()) };
  }

  #text(size: number): string {
    const start = this.#forward(size);
    return this.#bytes.toString('utf8', start, start + size);
  }

  #forward(size: number): number {
    const start = this.#offset;
    if (start + size > this.#bytes.length) throw new RangeError('a frame that is too short');
    this.#offset += size;
    return start;
  }
}
