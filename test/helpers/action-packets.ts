/** A packet as it stands in a message. */
export function actionMessage(action: number, seq: number, body: unknown = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(4);
  head.writeInt16BE(action, 0);
  head.writeInt16BE(seq, 2);
  return Buffer.concat([head, bodyOf(body)]);
}

/** A packet as it stands in a stream. Its length may be a lie. */
export function actionFrame(action: number, seq: number, body?: unknown, lengthGiven?: number): Buffer {
  const message = actionMessage(action, seq, body);
  const length = Buffer.alloc(4);
  length.writeInt32BE(lengthGiven ?? message.length + 4);
  return Buffer.concat([length, message]);
}

/** Bytes as they are, anything else as JSON. */
export function bodyOf(value: unknown): Buffer {
  return value instanceof Uint8Array ? Buffer.from(value) : Buffer.from(JSON.stringify(value));
}

/** Action, seq and body as text of all whole packets in a stream: written again from the format's description. */
export function packetsIn(stream: Buffer): [number, number, string][] {
  const packets: [number, number, string][] = [];
  for (let at = 0; at + 8 <= stream.length; ) {
    const end = at + stream.readInt32BE(at);
    if (end > stream.length || end < at + 8) break;
    packets.push([stream.readInt16BE(at + 4), stream.readInt16BE(at + 6), stream.toString('utf8', at + 8, end)]);
    at = end;
  }
  return packets;
}
