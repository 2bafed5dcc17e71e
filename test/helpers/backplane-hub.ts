import { CommandHub, type CommandMessage, commandWsOptions } from '../../src/command/index.ts';
import { WsServer, withLocalAddress } from '../../src/index.ts';
import { nodeAt } from './backplane-server.ts';

/**
 * A server process with one hub of several, for clients of knet's format:
 *
 * ```
 *  to the server                 to clients
 *  1 name of a room: joins it    0 the client's own id, first of all
 *  2 room NUL text: to the room  2 the same, to the other members on all hubs
 *  3 client NUL text             3 text, to that client; or "nobody" back to the sender
 *  4 name of a room              4 its members on all hubs, as JSON
 *  5 text: to everybody          5 text
 *                                6 who came and who went, to the clients of this process
 * ```
 */
/** What the program is started with. */
export type ProgramArguments = readonly [kind: 'redis' | 'nats', place: string, prefix: string];

const [kind, place, prefix] = process.argv.slice(2);
if ((kind !== 'redis' && kind !== 'nats') || place === undefined || prefix === undefined) throw new Error('redis|nats place prefix');

const hub: CommandHub = new CommandHub({
  backplane: nodeAt(kind, place, prefix),
  onConnect: (client) => void client.send(0, client.id),
  onPresence: ({ joined, left }) => {
    const change = JSON.stringify({ joined: [...joined.keys()], left });
    hub.broadcast(6, change, { filter: () => true });
  },
});
const textOf = (payload: Uint8Array): string => Buffer.from(payload).toString();
const split = (payload: Uint8Array): [string, string] => {
  const [head = '', tail = ''] = textOf(payload).split('\0');
  return [head, tail];
};
hub.on(1, (client, payload) => void hub.room(textOf(payload)).join(client, { process: process.pid }));
hub.on(2, (client, payload) => {
  const [room] = split(payload);
  hub.room(room).broadcast(2, payload, { except: client });
});
hub.on(3, async (client, payload) => {
  const [to, text] = split(payload);
  if (!(await hub.sendTo(to, 3, text))) client.send(3, 'nobody');
});
hub.on(4, async (client, payload) => {
  const members = await hub.room(textOf(payload)).members();
  client.send(4, JSON.stringify([...members.keys()].sort()));
});
hub.on(5, (_client, payload) => void hub.broadcast(5, payload));

await hub.open();
const server = new WsServer<CommandMessage>(withLocalAddress('127.0.0.1:0'), commandWsOptions(hub));
await server.listen();
console.log(`port ${server.localAddress?.port}`);
