// npx tsx examples/10-router.ts
// Requests and replies by action: one router answers JSON over TCP and over WebSocket, with the same types on both sides.
import { TcpClient, TcpServer, WsClient, WsServer, withEventListener, withLocalAddress, withPkgHandler, withServerAddress } from 'portico';
import { json } from 'portico/protocol';
import { ActionPacketHandler, CallError, defineAction, Router, RouterClient } from 'portico/router';

const divide = defineAction(1, { request: json<{ a: number; b: number }>(), reply: json<{ quotient: number }>() });
const news = defineAction(101, { request: json<string>() });

const router = new Router()
  .use(async ({ action, session }, next) => {
    const startedMs = performance.now();
    await next();
    console.log(`${session.endPoint.type} action ${action} took ${Math.ceil(performance.now() - startedMs)} ms`);
  })
  .route(divide, ({ body }) => {
    if (body.b === 0) throw new CallError('NOT_DIVISIBLE', 'nobody divides by 0');
    return { quotient: body.a / body.b };
  });

const shared = [withLocalAddress('127.0.0.1:0'), withPkgHandler(new ActionPacketHandler())] as const;
const opened = router.listener({ onOpen: (session) => void router.push(session, news, 'you are connected') });
const [tcp, ws] = [new TcpServer(...shared, withEventListener(opened)), new WsServer(...shared, withEventListener(opened))];
await Promise.all([tcp.listen(), ws.listen()]);

const listener = new RouterClient();
listener.onPush(news, (text, session) => console.log(`${session.endPoint.type} was told: ${text}`));
const dialling = [withPkgHandler(new ActionPacketHandler()), withEventListener(listener)] as const;
const clients = [
  new TcpClient(withServerAddress(tcp.localAddress.text), ...dialling),
  new WsClient(withServerAddress(`ws://${ws.localAddress.text}/`), ...dialling),
];
for (const client of clients) {
  const calls = listener.of(await client.connect());
  console.log(await calls.call(divide, { a: 1, b: 4 }, { timeoutMs: 1000 }));
  await calls.call(divide, { a: 1, b: 0 }).catch((error: CallError) => console.log(error.reason, error.message));
  await client.close();
}
await Promise.all([tcp.close(), ws.close()]);
