import { checkFunction, checkInteger, invalid } from '../base/option.ts';
import type { AnyBodyCodec, BodyCodec } from './body-codec.ts';

/** The ids above are those of the command protocol itself. */
export const MAX_MESSAGE_ID = 0xffff_ffdf;

/** A message that asks for nothing. */
export interface MessageSpec {
  /** Its number on the wire, never given to another message. */
  readonly id: number;
  readonly body: AnyBodyCodec;
  readonly reply?: undefined;
  readonly stream?: undefined;
}

/** A message that is answered once. */
export interface CallSpec {
  readonly id: number;
  readonly body: AnyBodyCodec;
  readonly reply: AnyBodyCodec;
  readonly stream?: undefined;
}

/** A message that is answered with any number of items, and an end. */
export interface StreamSpec {
  readonly id: number;
  readonly body: AnyBodyCodec;
  /** For each item. */
  readonly stream: AnyBodyCodec;
  readonly reply?: undefined;
}

/** The messages of a protocol by their names. */
export type ProtocolSpec = Readonly<Record<string, MessageSpec | CallSpec | StreamSpec>>;

/** One message of a protocol, for the code that carries it; programs use names. */
export interface MessageType {
  readonly name: string;
  readonly id: number;
  readonly kind: 'message' | 'call' | 'stream';
  readonly body: AnyBodyCodec;
  /** Of a call. */
  readonly reply: AnyBodyCodec | undefined;
  /** Of a stream. */
  readonly stream: AnyBodyCodec | undefined;
}

/** What a server and its clients have agreed on: one value that both import. Made by `defineProtocol`. */
export interface Protocol<Spec extends ProtocolSpec = ProtocolSpec> {
  readonly spec: Spec;
  readonly byName: ReadonlyMap<string, MessageType>;
  readonly byId: ReadonlyMap<number, MessageType>;
}

export interface ProtocolOptions {
  /** The range of ids. Default 0 to 0xffffffdf, which is the command protocol's; -32768 to 32767 is the router's. */
  readonly minId?: number;
  readonly maxId?: number;
}

/**
 * Checks and indexes the messages of a protocol. Throws ConfigError INVALID_OPTION for an id that is used twice or out of range, a
 * name that is not 1 to 64 letters, digits and `_ $ . : / -` beginning with a letter, `_` or `$`, a `body` that is no codec, and
 * a message with both `reply` and `stream`.
 */
export function defineProtocol<const Spec extends ProtocolSpec>(spec: Spec, options: ProtocolOptions = {}): Protocol<Spec> {
  const { minId = 0, maxId = MAX_MESSAGE_ID } = options;
  checkInteger('defineProtocol minId', minId, -0x8000_0000, 0xffff_ffff);
  checkInteger('defineProtocol maxId', maxId, minId, 0xffff_ffff);
  const byName = new Map<string, MessageType>();
  const byId = new Map<number, MessageType>();
  for (const [name, message] of Object.entries(checkSpec(spec))) {
    const type = toType(name, message);
    checkInteger(`defineProtocol ${name}.id`, type.id, minId, maxId);
    const other = byId.get(type.id);
    if (other !== undefined) throw invalid(`defineProtocol ${name}.id`, `an id that is not the one of ${other.name}`, type.id);
    byName.set(name, type);
    byId.set(type.id, type);
  }
  return { spec, byName, byId };
}

/** The message of that name. Throws ConfigError INVALID_OPTION, in the name of `method`, when there is none of one of the kinds. */
export function messageNamed(protocol: Protocol, name: string, method: string, kinds?: readonly MessageType['kind'][]): MessageType {
  const type = protocol.byName.get(name);
  if (type !== undefined && (kinds === undefined || kinds.includes(type.kind))) return type;
  const what = kinds === undefined ? 'message' : kinds.join(' or ');
  throw invalid(
    method,
    type === undefined ? `the name of a ${what} of the protocol` : `the name of a ${what}, not of a ${type.kind}`,
    name,
  );
}

function checkSpec(spec: ProtocolSpec): ProtocolSpec {
  const prototype: unknown = typeof spec === 'object' && spec !== null ? Object.getPrototypeOf(spec) : undefined;
  // `__proto__: {…}` in a literal is no message, but a prototype.
  if (prototype !== null && prototype !== Object.prototype) throw invalid('defineProtocol', 'a plain object of messages', spec);
  return spec;
}

function toType(name: string, message: ProtocolSpec[string]): MessageType {
  const where = `defineProtocol ${name.slice(0, 64)}`;
  if (!/^[A-Za-z_$][\w$.:/-]{0,63}$/.test(name) || name === '__proto__') {
    throw invalid(
      'defineProtocol',
      'names of 1 to 64 letters, digits and _ $ . : / -, beginning with none of the last three or a digit',
      name,
    );
  }
  if (typeof message !== 'object' || message === null) throw invalid(where, '{ id, body }', message);
  const { id, body, reply, stream } = message;
  if (reply !== undefined && stream !== undefined) throw invalid(where, 'reply or stream', 'both');
  return {
    name,
    id,
    kind: reply !== undefined ? 'call' : stream !== undefined ? 'stream' : 'message',
    body: checkCodec(`${where}.body`, body),
    reply: reply === undefined ? undefined : checkCodec(`${where}.reply`, reply),
    stream: stream === undefined ? undefined : checkCodec(`${where}.stream`, stream),
  };
}

function checkCodec(name: string, codec: AnyBodyCodec): AnyBodyCodec {
  if (typeof codec !== 'object' || codec === null) throw invalid(name, 'a body codec, such as json()', codec);
  checkFunction(`${name}.encode`, codec.encode);
  checkFunction(`${name}.decode`, codec.decode);
  return codec;
}

// --- types ---

type SpecOf<P> = P extends Protocol<infer Spec> ? Spec : never;
/** Of a protocol of which nothing is known, any name may be of any kind. */
type NamesWith<Spec extends ProtocolSpec, Kind> = string extends keyof Spec
  ? string
  : { [Name in keyof Spec & string]: Spec[Name] extends Kind ? Name : never }[keyof Spec & string];

/** What a codec takes to be sent. */
export type SentOf<Codec> = Codec extends BodyCodec<infer Sent, unknown> ? Sent : never;
/** What a codec makes of what was received. */
export type ReceivedOf<Codec> = Codec extends BodyCodec<infer _Sent, infer Received> ? Received : never;

/** The names of everything in a protocol. */
export type Names<P extends Protocol> = keyof SpecOf<P> & string;
/** The names of the messages that ask for nothing: what `send` takes. */
export type MessageNames<P extends Protocol> = NamesWith<SpecOf<P>, MessageSpec>;
/** The names of the messages that are answered once: what `call` takes. */
export type CallNames<P extends Protocol> = NamesWith<SpecOf<P>, CallSpec>;
/** The names of the messages that are answered with a stream. */
export type StreamNames<P extends Protocol> = NamesWith<SpecOf<P>, StreamSpec>;

/** What a program gives to send the message. */
export type BodySent<P extends Protocol, Name extends Names<P>> = SentOf<SpecOf<P>[Name]['body']>;
/** What a handler of the message gets. */
export type BodyReceived<P extends Protocol, Name extends Names<P>> = ReceivedOf<SpecOf<P>[Name]['body']>;
/** What a handler of the call answers. */
export type ReplySent<P extends Protocol, Name extends CallNames<P>> = SentOf<SpecOf<P>[Name]['reply']>;
/** What the caller gets. */
export type ReplyReceived<P extends Protocol, Name extends CallNames<P>> = ReceivedOf<SpecOf<P>[Name]['reply']>;
/** What a handler of the stream yields. */
export type ItemSent<P extends Protocol, Name extends StreamNames<P>> = SentOf<SpecOf<P>[Name]['stream']>;
/** What the caller of the stream gets. */
export type ItemReceived<P extends Protocol, Name extends StreamNames<P>> = ReceivedOf<SpecOf<P>[Name]['stream']>;
