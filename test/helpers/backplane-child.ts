import { BackplaneRecorder } from '../../src/testing/index.ts';
import { nodeAt, type ServerKind } from './backplane-server.ts';

/** A node in a process of its own: a member of the room `lobby`, a client, and an echo on the channel `to child`. */
/** What the program is started with. */
export type ProgramArguments = readonly [kind: 'redis' | 'nats', place: string, prefix: string];

const [kind, place, prefix] = process.argv.slice(2);
if ((kind !== 'redis' && kind !== 'nats') || place === undefined || prefix === undefined) throw new Error('redis|nats place prefix');
const node: ServerKind = kind;
const backplane = nodeAt(node, place, prefix);

class Echo extends BackplaneRecorder {
  override onMessage(channel: string, bytes: Uint8Array, fromNode: string): void {
    super.onMessage(channel, bytes, fromNode);
    backplane.publish('from child', bytes);
  }
}

await backplane.open(new Echo(backplane));
backplane.setMember('lobby', 'child', Buffer.from(`${process.pid}`));
backplane.register('client of child');
backplane.subscribe('to child');
console.log(backplane.nodeId);
