import { invalid } from '../base/option.ts';
import type { BodyReceived, BodySent, CallNames, Names, Protocol, ReplyReceived, ReplySent } from '../protocol/protocol.ts';
import { type Action, defineAction } from './action.ts';

/** The messages of a protocol as actions, by their names. */
export type ActionsOf<P extends Protocol> = {
  readonly [Name in Names<P>]: Name extends CallNames<P>
    ? Action<BodySent<P, Name>, BodyReceived<P, Name>, ReplySent<P, Name>, ReplyReceived<P, Name>>
    : Action<BodySent<P, Name>, BodyReceived<P, Name>, never, never>;
};

/**
 * The messages of a protocol as actions: calls have replies, messages have none. Throws INVALID_OPTION for a stream, which packets have
 * no way to tell, and for an id that is no action: give `defineProtocol` the range -32 768 to 32 767.
 *
 * @example
 * ```ts
 * import { defineProtocol, json } from 'portico/protocol';
 * import { actionsOf, Router } from 'portico/router';
 *
 * const protocol = defineProtocol(
 *   { login: { id: 1, body: json<{ name: string }>(), reply: json<{ id: string }>() } },
 *   { minId: -32_768, maxId: 32_767 },
 * );
 * const actions = actionsOf(protocol);
 * new Router().route(actions.login, ({ body }) => ({ id: body.name }));
 * ```
 */
export function actionsOf<P extends Protocol>(protocol: P): ActionsOf<P> {
  const entries = [...protocol.byName.values()].map(({ name, id, kind, body, reply }) => {
    if (kind === 'stream') throw invalid(`actionsOf ${name}`, 'a message or a call', 'a stream');
    return [name, defineAction(id, { request: body, hasReply: reply !== undefined, ...(reply === undefined ? {} : { reply }) })];
  });
  // The protocol's own types say what its codecs take.
  return Object.freeze(Object.fromEntries(entries)) as ActionsOf<P>;
}
