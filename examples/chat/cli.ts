// npx tsx examples/chat/cli.ts ws://127.0.0.1:7080/chat [name]
/** The chat on the command line: the same client as in the page, here in Node. */
import { createInterface } from 'node:readline';
import { CallError, createClient, roomOf, type WebSocketConstructor } from 'portico/browser';
import WebSocket from 'ws';
import { help, linesOf, parseLine, peopleLine } from './lines.ts';
import { type Body, type FromServer, protocol } from './protocol.ts';
import { Roster } from './roster.ts';

const [url = 'ws://127.0.0.1:7080/chat', wantedName] = process.argv.slice(2);
const roster = new Roster();
/** As far as the user has chosen them; the server is told again after each loss. */
const wish: { name?: string; room?: string } = wantedName === undefined ? {} : { name: wantedName };

const client = createClient({
  url,
  protocol,
  auth: () => wish,
  // From Node 22 on there is one already. The types of `ws` have more than the client asks for.
  webSocket: WebSocket as unknown as WebSocketConstructor,
  shouldReconnect: ({ status }) => (status === 1008 ? false : undefined),
});

function print<Name extends FromServer>(name: Name, body: Body<Name>): void {
  for (const line of linesOf(name, body)) console.log(line);
}

const known = new Set<string>();
client.on('entered', (view) => {
  roster.entered(view);
  wish.room = view.room;
  print('entered', view);
  if (known.has(view.room)) return;
  known.add(view.room);
  const room = roomOf(client, view.room);
  room.on('said', (said) => {
    // Who has typed a line sees it already.
    if (said.from !== roster.you) print('said', said);
  });
  room.on('person', (change) => {
    roster.changed(change);
    print('person', change);
  });
});
client.on('notice', (text) => print('notice', text));
client.events.on('reconnecting', ({ delayMs }) => console.log(`* connection lost, trying again in ${(delayMs / 1000).toFixed(1)} s`));
client.events.on('reconnected', ({ recovered }) => console.log(recovered ? '* connected again, nothing was lost' : '* connected again'));
client.events.on('dropped', ({ payload }) => console.log(`* this may not have arrived: ${new TextDecoder().decode(payload)}`));
client.events.on('error', () => {
  // The next attempt tells enough.
});
client.events.on('close', ({ status, reason }) => {
  console.log(`* closed (${status} ${reason})`);
  input.close();
  // A pipe that nobody closes would keep the process.
  process.stdin.destroy();
});

async function obey(line: string): Promise<void> {
  const { verb, rest } = parseLine(line);
  if (verb === 'say' && rest !== '') client.send('say', rest);
  else if (verb === 'who') console.log(peopleLine(roster.sorted()));
  else if (verb === 'help') console.log(`* ${help}`);
  else if (verb === 'name') wish.name = await client.call('rename', rest);
  else if (verb === 'join') await client.call('enter', rest);
  else if (verb === 'quit') input.close();
}

const input = createInterface({ input: process.stdin });
input.on('line', (line) => {
  obey(line).catch((error: unknown) => console.log(`* ${error instanceof CallError ? error.message : 'that did not work'}`));
});
// Also at the end of a file or pipe: what it had is sent first, even if the server is not there yet.
input.on('close', () => void client.ready.then(() => client.close()).catch(() => {}));
process.on('SIGINT', () => void client.close({ drain: false }));

console.log(`* connecting to ${url}`);
await client.connect().catch(() => {});
