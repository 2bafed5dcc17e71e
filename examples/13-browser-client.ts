// npx tsx examples/13-browser-client.ts
// The client of pages, here in Node, at a hub in the same process: typed messages, a call, a stream, and a cut that nobody notices.
import assert from 'node:assert/strict';
import { WsServer, withLocalAddress } from 'portico';
import { createClient, stream, type WebSocketConstructor } from 'portico/browser';
import { CommandHub, type CommandMessage, commandWsOptions } from 'portico/command';
import { defineProtocol, json, text } from 'portico/protocol';
import WebSocket from 'ws';

const chat = defineProtocol({
  say: { id: 1, body: text() },
  shout: { id: 2, body: text(), reply: text() },
  count: { id: 3, body: json<number>(), stream: json<number>() },
});

const hub = new CommandHub({ protocol: chat });
hub.on('say', (_client, words) => void hub.broadcast('say', words));
hub.handle('shout', (_client, words) => words.toUpperCase());
hub.handle('count', async function* (_client, last) {
  for (let n = 1; n <= last; n++) yield n;
});
const server = new WsServer<CommandMessage>(withLocalAddress('127.0.0.1:0'), commandWsOptions(hub));
await server.listen();

// A page has a WebSocket of its own, and so has Node from 22 on; here it is one that the example can cut.
let cut = (): void => {};
class OwnWebSocket extends WebSocket {
  constructor(url: string, subprotocols: string[]) {
    super(url, subprotocols);
    cut = () => this.terminate();
  }
}
const webSocket = OwnWebSocket as unknown as WebSocketConstructor;
const client = createClient({ url: `ws://${server.localAddress.text}/`, protocol: chat, webSocket, reconnect: { minMs: 10 } });
client.events.on('reconnecting', ({ attempt }) => console.log(`lost, attempt ${attempt}`));
client.events.on('reconnected', ({ recovered }) => console.log(`back, recovered: ${recovered}`));

await client.connect();
assert.equal(await client.call('shout', 'hello'), 'HELLO');
let sum = 0;
for await (const n of stream(client, 'count', 10)) sum += n;
assert.equal(sum, 55);

const heard = new Promise<string>((resolve) => client.once('say', resolve));
cut();
client.send('say', 'said while nobody was connected');
console.log(await heard);

await client.close();
await hub.close();
await server.close();
