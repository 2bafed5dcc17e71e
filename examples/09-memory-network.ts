// npx tsx examples/09-memory-network.ts
// A test without sockets and without waiting: a simulated network with a seed, and a clock that the test moves.
import assert from 'node:assert/strict';
import {
  Client,
  EventListener,
  LineHandler,
  Server,
  type Session,
  withClock,
  withEventListener,
  withIdleTimeoutMs,
  withLocalAddress,
  withPkgHandler,
  withReconnect,
  withServerAddress,
} from 'portico';
import { MemoryNetwork, VirtualClock } from 'portico/testing';

class Echo extends EventListener<string> {
  onMessage(session: Session<string>, line: string): void {
    session.send(line);
  }
}

class Collect extends EventListener<string> {
  readonly lines: string[] = [];

  onMessage(_session: Session<string>, line: string): void {
    this.lines.push(line);
  }
}

const startedMs = performance.now();
const clock = new VirtualClock();
const network = new MemoryNetwork({ clock, seed: 7, latencyMs: [5, 50], split: 'bytes' });
const shared = [withPkgHandler(new LineHandler()), withClock(clock)] as const;

const listening = [withLocalAddress('server:1'), withIdleTimeoutMs(3_600_000)] as const;
const server = Server.over(network.transport(), ...listening, withEventListener(new Echo()), ...shared);
await server.listen();

const collected = new Collect();
const dialling = [withServerAddress('server:1'), withReconnect(false)] as const;
const client = Client.over(network.transport(), ...dialling, withEventListener(collected), ...shared);
void client.connect();
await clock.advance(100); // the dial, both ways

const [session] = client.sessions.values();
for (const line of ['one', 'two', 'three']) session?.send(line);
await clock.advance(100); // there and back, at most 50 ms each way, cut into single bytes
assert.deepEqual(collected.lines, ['one', 'two', 'three']);

await clock.advance(3_600_000); // an hour of silence takes a few milliseconds
assert.equal(session?.state, 'closed');
assert.equal(server.sessions.size, 0);
console.log(`passed: ${clock.now()} ms of network time in ${Math.round(performance.now() - startedMs)} ms`);
