import { type RawPeer, until } from './raw-peer.ts';

export const OPCODE = { CONTINUATION: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 } as const;

/** The key of RFC 6455 section 1.3, and the answer to it. */
export const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
export const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';

export interface FrameOptions {
  /** Default true. */
  readonly fin?: boolean;
  /** Default true: as clients must. */
  readonly isMasked?: boolean;
  /** The three reserved bits, RSV1 first: 4, 2, 1. */
  readonly rsv?: number;
  /** Written instead of the real length, in 8 bytes. */
  readonly claims?: bigint;
}

export interface Frame {
  readonly opcode: number;
  readonly fin: boolean;
  readonly rsv: number;
  readonly isMasked: boolean;
  readonly payload: Buffer;
}

/** A frame of RFC 6455 section 5.2, also one that is forbidden. */
export function wsFrame(opcode: number, payload: Uint8Array | string = '', options: FrameOptions = {}): Buffer {
  const { fin = true, isMasked = true, rsv = 0, claims } = options;
  const body = Buffer.from(payload);
  const head = Buffer.alloc(14);
  head[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  let size = 2;
  if (claims !== undefined) {
    head[1] = 127;
    size = head.writeBigUInt64BE(claims, 2);
  } else if (body.length < 126) {
    head[1] = body.length;
  } else if (body.length < 65_536) {
    head[1] = 126;
    size = head.writeUInt16BE(body.length, 2);
  } else {
    head[1] = 127;
    size = head.writeBigUInt64BE(BigInt(body.length), 2);
  }
  if (!isMasked) return Buffer.concat([head.subarray(0, size), body]);
  head[1] = (head[1] ?? 0) | 0x80;
  const key = [0x37, 0xfa, 0x21, 0x3d];
  for (const [index, byte] of key.entries()) head[size + index] = byte;
  return Buffer.concat([head.subarray(0, size + 4), body.map((byte, index) => byte ^ (key[index & 3] ?? 0))]);
}

export function closeFrame(status: number | undefined, text: Uint8Array | string = '', options: FrameOptions = {}): Buffer {
  if (status === undefined) return wsFrame(OPCODE.CLOSE, '', options);
  const head = Buffer.alloc(2);
  head.writeUInt16BE(status);
  return wsFrame(OPCODE.CLOSE, Buffer.concat([head, Buffer.from(text)]), options);
}

/** The whole frames in the bytes. */
export function framesOf(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at + 2 <= bytes.length; ) {
    const first = bytes[at] ?? 0;
    const second = bytes[at + 1] ?? 0;
    let length = second & 0x7f;
    let body = at + 2;
    if (length === 126 && bytes.length >= at + 4) {
      length = bytes.readUInt16BE(at + 2);
      body += 2;
    } else if (length === 127 && bytes.length >= at + 10) {
      length = Number(bytes.readBigUInt64BE(at + 2));
      body += 8;
    }
    const isMasked = (second & 0x80) !== 0;
    const key = bytes.subarray(body, body + 4);
    if (isMasked) body += 4;
    if (body + length > bytes.length) break;
    const raw = bytes.subarray(body, body + length);
    const payload = isMasked ? Buffer.from(raw.map((byte, index) => byte ^ (key[index & 3] ?? 0))) : Buffer.from(raw);
    frames.push({ opcode: first & 0x0f, fin: (first & 0x80) !== 0, rsv: (first >> 4) & 7, isMasked, payload });
    at = body + length;
  }
  return frames;
}

export interface RequestOptions {
  readonly method?: string;
  readonly version?: string;
  /** Changes and additions; undefined leaves one out. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
}

/** A request for a WebSocket, as a browser sends it. */
export function upgradeRequest(url = '/', { method = 'GET', version = '1.1', headers = {} }: RequestOptions = {}): string {
  const all: Record<string, string | undefined> = {
    Host: 'localhost',
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Key': KEY,
    'Sec-WebSocket-Version': '13',
    ...headers,
  };
  const lines = Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}\r\n`]));
  return `${method} ${url} HTTP/${version}\r\n${lines.join('')}\r\n`;
}

/** A WebSocket peer in the hands of a test, over a raw socket. */
export class WsPeer {
  readonly raw: RawPeer;

  constructor(raw: RawPeer) {
    this.raw = raw;
  }

  /** The head of the answer; '' until it is complete. */
  get head(): string {
    const end = this.raw.received.indexOf('\r\n\r\n');
    return end === -1 ? '' : this.raw.received.toString('latin1', 0, end);
  }

  /** The status of the answer; 0 until it has come. */
  get status(): number {
    return Number(/^HTTP\/1\.1 (\d{3})/.exec(this.head)?.[1] ?? 0);
  }

  get body(): string {
    const { received } = this.raw;
    return received.toString('utf8', received.indexOf('\r\n\r\n') + 4);
  }

  get frames(): Frame[] {
    return this.status === 101 ? framesOf(this.raw.received.subarray(this.head.length + 4)) : [];
  }

  get messages(): string[] {
    return this.frames.filter(({ opcode }) => opcode === OPCODE.TEXT || opcode === OPCODE.BINARY).map(({ payload }) => String(payload));
  }

  /** What the close frame says; undefined until it has come. 1005 = nothing. */
  get close(): { readonly status: number; readonly text: string } | undefined {
    const payload = this.frames.find(({ opcode }) => opcode === OPCODE.CLOSE)?.payload;
    if (payload === undefined) return undefined;
    return { status: payload.length < 2 ? 1005 : payload.readUInt16BE(0), text: payload.toString('utf8', 2) };
  }

  pour(...parts: readonly (Uint8Array | string)[]): void {
    this.raw.pour(Buffer.concat(parts.map((part) => Buffer.from(part))));
  }

  /** The status of the answer. */
  async answered(): Promise<number> {
    await until(() => this.status !== 0 || this.raw.isClosed, 'the answer');
    return this.status;
  }

  async framesIn(count: number): Promise<Frame[]> {
    await until(() => this.frames.length >= count || this.raw.isClosed, `${count} frame(s)`);
    return this.frames;
  }

  async messagesIn(count: number): Promise<string[]> {
    await until(() => this.messages.length >= count || this.raw.isClosed, `${count} message(s)`);
    return this.messages;
  }

  /** The status in the close frame; undefined when the socket ended without one. */
  async closed(): Promise<number | undefined> {
    await until(() => this.close !== undefined || this.raw.isClosed || this.raw.hasEnded, 'the close frame');
    return this.close?.status;
  }
}
