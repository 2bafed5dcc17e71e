import { ConfigError } from '../base/errors.ts';
import { checkBoolean, checkString, invalid } from '../base/option.ts';
import type { BodyCodec } from '../protocol/body-codec.ts';
import { checkAction } from './action-packet.ts';

/** One codec for all formats, or one for each, by the name of the format. */
export type CodecChoice<Sent, Received> = BodyCodec<Sent, Received> | Readonly<Record<string, BodyCodec<Sent, Received>>>;

export interface ActionOptions<RequestSent, Request, Reply, ReplyReceived> {
  /** What is in a request. Default: the codec that the router or client has for its format. */
  readonly request?: CodecChoice<RequestSent, Request>;
  /** What is in a reply. Default: as for requests. */
  readonly reply?: CodecChoice<Reply, ReplyReceived>;
  /**
   * `false`: a message that is never answered, not even when it fails.
   *
   * @default true
   */
  readonly hasReply?: boolean;
}

/** An action with the types of its bodies, made by `defineAction`. */
export interface Action<RequestSent = unknown, Request = unknown, Reply = unknown, ReplyReceived = unknown> {
  readonly action: number;
  readonly hasReply: boolean;
  readonly request: CodecChoice<RequestSent, Request> | undefined;
  readonly reply: CodecChoice<Reply, ReplyReceived> | undefined;
}

/**
 * One value for a server's route and a client's calls, so that both have the same types. It is also how a push is described: its
 * `request` is what is pushed.
 *
 * @example
 * ```ts
 * import { json } from 'portico/protocol';
 * import { defineAction } from 'portico/router';
 *
 * export const login = defineAction(1, { request: json<{ name: string }>(), reply: json<{ id: string }>() });
 * ```
 *
 * With `{ json: …, protobuf: … }` in place of a codec, an action speaks several formats; each listener and client has one.
 * Throws INVALID_OPTION.
 */
export function defineAction<RequestSent = unknown, Request = RequestSent, Reply = unknown, ReplyReceived = Reply>(
  action: number,
  options: ActionOptions<RequestSent, Request, Reply, ReplyReceived> = {},
): Action<RequestSent, Request, Reply, ReplyReceived> {
  const { request, reply, hasReply = true } = options;
  checkAction('defineAction action', action);
  checkChoice('defineAction request', request);
  checkChoice('defineAction reply', reply);
  checkBoolean('defineAction hasReply', hasReply);
  return Object.freeze({ action, hasReply, request, reply });
}

/** The codecs that are used where an action has none of its own, by the name of the format. */
export type Codecs = Readonly<Record<string, BodyCodec<unknown>>>;

export function checkCodecs(name: string, codecs: Codecs): Codecs {
  if (typeof codecs !== 'object' || codecs === null || isCodec(codecs)) throw invalid(name, 'an object of codecs by format', codecs);
  checkChoice(name, codecs);
  return { ...codecs };
}

export function checkFormat(name: string, format: string): string {
  return checkString(name, format, 64);
}

/** The codec for a format, from what an action has, or else from the defaults. */
export function codecFor<Sent, Received>(
  choice: CodecChoice<Sent, Received> | undefined,
  defaults: Codecs,
  format: string,
  action: number,
): BodyCodec<Sent, Received> {
  if (choice !== undefined) {
    if (isCodec(choice)) return choice;
    // Inherited names are no formats.
    const own = Object.hasOwn(choice, format) ? choice[format] : undefined;
    if (own !== undefined) return own;
  }
  const common = Object.hasOwn(defaults, format) ? defaults[format] : undefined;
  if (common === undefined) throw missingCodec(action, format);
  // An action without codecs has the types that its user gave it.
  return common as unknown as BodyCodec<Sent, Received>;
}

function missingCodec(action: number, format: string): ConfigError {
  return new ConfigError('MISSING_OPTION', `action ${action}: expected a codec for the format "${format}", given none`);
}

function isCodec<Sent, Received>(value: CodecChoice<Sent, Received>): value is BodyCodec<Sent, Received> {
  return 'decode' in value && typeof value.decode === 'function' && 'encode' in value && typeof value.encode === 'function';
}

function checkChoice(name: string, choice: CodecChoice<never, unknown> | undefined): void {
  if (choice === undefined || (typeof choice === 'object' && choice !== null && isCodec(choice))) return;
  if (typeof choice !== 'object' || choice === null) throw invalid(name, 'a codec, or codecs by format', choice);
  for (const [format, codec] of Object.entries<BodyCodec<never, unknown>>(choice)) {
    if (typeof codec !== 'object' || codec === null || !isCodec(codec)) throw invalid(`${name} ${format}`, 'a codec', codec);
  }
}

const NULL = Buffer.from('null');
const EMPTY = Buffer.alloc(0);

/** The body for a value; undefined is what a reader of the format takes for nothing. */
export function encodeWith<Sent>(codec: BodyCodec<Sent, unknown>, value: Sent): Uint8Array {
  if (value !== undefined) return codec.encode(value);
  return codec.name === 'json' ? NULL : EMPTY;
}
