/**
 * CONTRACT. Turns one body, the content of one message, into bytes and back. A framing (a PkgHandler, a WebSocket message) says where
 * a body begins and ends; a body codec never sees more or less than one.
 *
 * A codec
 * - MUST work synchronously, and MUST NOT keep anything between two bodies that changes what they come to;
 * - MUST NOT keep the bytes given to `decode`, nor a view of them: they are lent for the call. What it returns owns its memory;
 * - MUST NOT use what `encode` returned again: it belongs to the caller;
 * - MUST throw InvalidBodyError from `decode` for bytes that it does not take, and no other error for a fault of the peer;
 * - SHOULD throw StateError UNENCODABLE_BODY from `encode` for a value that it cannot write.
 *
 * One codec value serves any number of sessions.
 *
 * @typeParam Sent - what a program gives to be sent.
 * @typeParam Received - what a program gets that has received it; another type where a schema transforms or fills in.
 */
export interface BodyCodec<Sent, Received = Sent> {
  /** For error messages and content negotiation, such as `json`. */
  readonly name: string;
  encode(value: Sent): Uint8Array;
  decode(bytes: Uint8Array): Received;
}

/** Any body codec, where the types of its values do not matter. */
export type AnyBodyCodec = BodyCodec<unknown, unknown>;

/** What may be given as bytes; a string stands for its UTF-8. */
export type BytesLike = string | ArrayBuffer | ArrayBufferView;
