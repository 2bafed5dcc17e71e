// npx tsx examples/12-commands.ts
// Commands by name with types, calls, rooms and broadcasts; here the client speaks knet's format, a number and a payload.
import assert from 'node:assert/strict';
import { WsClient, WsServer, withEventListener, withLocalAddress, withPkgHandler, withReconnect, withServerAddress } from 'portico';
import { CommandHandler, CommandHub, type CommandMessage, commandWsOptions } from 'portico/command';
import { defineProtocol, json } from 'portico/protocol';

const protocol = defineProtocol({
  say: { id: 1, body: json<{ text: string }>() },
  said: { id: 2, body: json<{ from: string; text: string }>() },
});

const hub = new CommandHub({
  protocol,
  onConnect: (client) => {
    hub.room('lobby').join(client);
    client.send('said', { from: 'server', text: 'welcome' });
  },
  onDisconnect: (_client, { by, reason }) => console.log(`gone, by the ${by}: ${reason}`),
});
hub.on('say', (client, { text }) => void hub.room('lobby').broadcast('said', { from: client.id.slice(0, 4), text }));

const server = new WsServer<CommandMessage>(withLocalAddress('127.0.0.1:0'), commandWsOptions(hub));
await server.listen();

const heard: string[] = [];
const client = new WsClient<CommandMessage>(
  withServerAddress(`ws://${server.localAddress.text}/`),
  withReconnect(false),
  withPkgHandler(new CommandHandler()),
  withEventListener<CommandMessage, CommandMessage>({
    onMessage(session, { payload }) {
      const { text } = protocol.spec.said.body.decode(payload);
      heard.push(text);
      if (text === 'welcome') session.send({ id: 1, payload: protocol.spec.say.body.encode({ text: 'hello' }) });
      else void session.close({ reason: 'done' });
    },
  }),
);
const session = await client.connect();
await session.closed;
assert.deepEqual(heard, ['welcome', 'hello']);

await hub.close();
await server.close();
await client.close();
console.log(`heard: ${heard.join(', ')}`);
