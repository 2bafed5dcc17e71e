// A command hub in which every command goes to all clients, encoded once. Driven as the other broadcast servers are: the first four
// bytes of a message are its command. What the load generator sends is one of knet's profile.

import { CommandHub, commandWsOptions } from '../../dist/command/index.js';
import { WsServer, withLocalAddress } from '../../dist/index.js';

const hub = new CommandHub();
hub.onAny((_client, id, payload) => void hub.broadcast(id, payload));
const server = new WsServer(withLocalAddress('127.0.0.1:0'), commandWsOptions(hub));
await server.listen();
console.log(JSON.stringify({ port: server.localAddress.port, pid: process.pid }));
process.on('SIGTERM', () => process.exit(0));
