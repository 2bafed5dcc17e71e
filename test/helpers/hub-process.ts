/** A hub in a process of its own, which tests can stop like a machine that hangs: prints its URL, and sends back each message 1. */
import type { CommandMessage } from '../../src/command/command-handler.ts';
import { commandWsOptions } from '../../src/command/endpoint-options.ts';
import { CommandHub } from '../../src/command/hub.ts';
import { withLocalAddress } from '../../src/endpoint/options.ts';
import { WsServer } from '../../src/endpoint/ws.ts';

const hub = new CommandHub({});
hub.on(1, (client, payload) => void client.send(1, payload));
const server = new WsServer<CommandMessage>(withLocalAddress('127.0.0.1:0'), commandWsOptions(hub));
await server.listen();
console.log(`ws://${server.localAddress.text}/`);
