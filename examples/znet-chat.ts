// npx tsx examples/znet-chat.ts 8081 8082
// The chat of znet over TCP and WebSocket at once: 1 log in, 2 message a user, 3 join a channel, 4 message it; 101 and 102 come back.
import { randomUUID } from 'node:crypto';
import { TcpServer, WsServer, withEventListener, withLocalAddress, withPkgHandler } from 'portico';
import { ActionPacketHandler, type ActionSession, CallError, type RouteContext, Router } from 'portico/router';

type Context = RouteContext<Partial<Record<string, unknown>> | null>;

const users = new Map<string, { readonly name: string; readonly session: ActionSession }>();
const channels = new Map<string, Set<ActionSession>>();
const idOf = (session: ActionSession): string => String(session.id);

function field({ body }: Context, name: string, maxLength = 64): string {
  const value = body?.[name];
  if (typeof value === 'string' && value !== '' && value.length <= maxLength) return value;
  throw new CallError('INVALID', `${name}: expected a text of 1 to ${maxLength} characters`);
}

function message(context: Context) {
  const [id, name] = [idOf(context.session), users.get(idOf(context.session))?.name];
  if (name === undefined) throw new CallError('FORBIDDEN', 'log in first');
  return { id: randomUUID(), content: field(context, 'content', 1000), sender: { id, name }, createdAt: Date.now() };
}

function leave(session: ActionSession): void {
  users.delete(idOf(session));
  for (const [name, members] of channels) if (members.delete(session) && members.size === 0) channels.delete(name);
}

const router = new Router()
  .route(1, (context: Context) => {
    users.set(idOf(context.session), { name: field(context, 'name'), session: context.session });
    return { id: idOf(context.session) };
  })
  .route(2, (context: Context) => {
    const [sent, receiver] = [message(context), users.get(field(context, 'receiverId'))];
    if (receiver === undefined) throw new CallError('NOT_FOUND', 'there is no such user');
    router.push(receiver.session, 101, sent, { seq: 1 });
    return { id: sent.id };
  })
  .route(3, (context: Context) => {
    const name = field(context, 'name');
    if (!users.has(idOf(context.session))) throw new CallError('FORBIDDEN', 'log in first');
    if (channels.size >= 1000 && !channels.has(name)) throw new CallError('LIMITED', 'there are channels enough');
    channels.set(name, (channels.get(name) ?? new Set()).add(context.session));
  })
  .route(4, (context: Context) => {
    const [sent, channel] = [message(context), field(context, 'channel')];
    if (!channels.get(channel)?.has(context.session)) throw new CallError('FORBIDDEN', 'subscribe first');
    router.pushAll(channels.get(channel) ?? [], 102, { ...sent, channel }, { seq: 1 });
    return { id: sent.id };
  })
  .route(5, () => null);

const [tcp = '8081', ws = '8082'] = process.argv.slice(2);
const serving = [withPkgHandler(new ActionPacketHandler()), withEventListener(router.listener({ onClose: leave }))] as const;
const [overTcp, overWs] = [withLocalAddress(`127.0.0.1:${tcp}`), withLocalAddress(`127.0.0.1:${ws}`)];
const servers = [new TcpServer(overTcp, ...serving), new WsServer(overWs, ...serving)];
for (const server of servers) console.log(`chat over ${(await server.listen()).type} at ${server.localAddress.text}`);
