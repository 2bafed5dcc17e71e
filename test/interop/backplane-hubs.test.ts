import path from 'node:path';
import { describe, expect, onTestFinished } from 'vitest';
import { WebSocket } from 'ws';
import type { ProgramArguments } from '../helpers/backplane-hub.ts';
import { BackplaneServer, newPrefix, type ServerKind } from '../helpers/backplane-server.ts';
import { until } from '../helpers/raw-peer.ts';
import { hasCommand, itIf, Tool } from '../helpers/tools.ts';

const program = path.join(import.meta.dirname, '../helpers/backplane-hub.ts');

/** Speaks knet's format: a number of 4 bytes, then text. */
class Client {
  readonly socket: WebSocket;
  readonly messages: [id: number, text: string][] = [];

  private constructor(port: string) {
    this.socket = new WebSocket(`ws://127.0.0.1:${port}/ws`);
    this.socket.on('error', () => {});
    this.socket.on('message', (data) => {
      const bytes = data as Buffer;
      this.messages.push([bytes.readUInt32BE(0), bytes.subarray(4).toString()]);
    });
  }

  /** Connected, and told its id. */
  static async connect(port: string): Promise<Client> {
    const client = new Client(port);
    onTestFinished(() => client.socket.terminate());
    await until(() => client.messages.length > 0, 'the id of a client');
    return client;
  }

  get id(): string {
    return this.messages[0]?.[1] ?? '';
  }

  send(id: number, text: string): void {
    const bytes = Buffer.alloc(4 + Buffer.byteLength(text));
    bytes.writeUInt32BE(id);
    bytes.write(text, 4);
    this.socket.send(bytes);
  }

  of(id: number): string[] {
    return this.messages.filter(([other]) => other === id).map(([, text]) => text);
  }

  /** Asks until the room has these members: other processes learn of them a little later. */
  async seesMembers(room: string, ids: readonly string[]): Promise<void> {
    const expected = JSON.stringify([...ids].sort());
    for (let answers = this.of(4).length; this.of(4).at(-1) !== expected; answers++) {
      this.send(4, room);
      await until(() => this.of(4).length > answers, `the members of ${room}, and at last ${expected}`);
    }
  }

  left(id: string): boolean {
    return this.of(6).some((text) => (JSON.parse(text) as { left: string[] }).left.includes(id));
  }
}

describe.each(['redis', 'nats'] as const)('two server processes joined by %s', (kind: ServerKind) => {
  const it = itIf(hasCommand(`${kind}-server`), `${kind}-server`, `apt-get install ${kind}-server`);

  it('are one: rooms, presence, broadcast, messages to one client, also when one of them is killed', async () => {
    const server = await BackplaneServer.start(kind);
    onTestFinished(() => server.stop());
    const prefix = newPrefix();
    const programArguments: ProgramArguments = [kind, `${server.place}`, prefix];
    const start = (): Tool => {
      const tool = new Tool(process.execPath, ['--import', 'tsx', program, ...programArguments]);
      onTestFinished(() => tool.stop());
      return tool;
    };
    const [left, right] = [start(), start()];
    const ports = [await left.finds(/port (\d+)/), await right.finds(/port (\d+)/)] as const;
    const [ann, bob] = [await Client.connect(ports[0]), await Client.connect(ports[0])];
    const [cid, dan] = [await Client.connect(ports[1]), await Client.connect(ports[1])];
    const all = [ann, bob, cid, dan];

    for (const client of [ann, bob, cid]) client.send(1, 'lobby');
    dan.send(1, 'cellar');
    await ann.seesMembers('lobby', [ann.id, bob.id, cid.id]);
    await dan.seesMembers('lobby', [ann.id, bob.id, cid.id]);
    await until(() => cid.of(6).some((text) => text.includes(ann.id)), 'the presence of ann on the other process');

    // Presence tells that the rooms are open on both sides, so nothing is missed from here on.
    for (let index = 0; index < 500; index++) ann.send(2, `lobby\0${index}`);
    const texts = Array.from({ length: 500 }, (_, index) => `lobby\0${index}`);
    await until(() => cid.of(2).length >= 500 && bob.of(2).length >= 500, 'the messages to the room');
    expect(cid.of(2)).toEqual(texts);
    expect(bob.of(2)).toEqual(texts);

    ann.send(3, `${dan.id}\0for dan`);
    ann.send(3, 'somebody else\0for nobody');
    await until(() => dan.of(3).length > 0 && ann.of(3).length > 0, 'the messages to one client');
    expect(all.map((client) => client.of(3))).toEqual([['nobody'], [], [], ['for dan']]);

    dan.send(5, 'for all');
    await until(() => all.every((client) => client.of(5).length > 0), 'the broadcast');
    expect(all.map((client) => client.of(5))).toEqual([['for all'], ['for all'], ['for all'], ['for all']]);
    expect(ann.of(2)).toEqual([]);
    expect(dan.of(2)).toEqual([]);

    const killedAtMs = performance.now();
    right.stop();
    await until(() => ann.left(cid.id), 'cid to leave');
    expect(performance.now() - killedAtMs).toBeLessThan(3_000);
    await ann.seesMembers('lobby', [ann.id, bob.id]);
    ann.send(3, `${cid.id}\0for cid`);
    await until(() => ann.of(3).length === 2, 'the answer that cid is gone');

    // A process that comes in its place is joined as if nothing had been.
    const third = start();
    const eve = await Client.connect(await third.finds(/port (\d+)/));
    eve.send(1, 'lobby');
    await ann.seesMembers('lobby', [ann.id, bob.id, eve.id]);
    await eve.seesMembers('lobby', [ann.id, bob.id, eve.id]);
    eve.send(2, 'lobby\0hello');
    await until(() => ann.of(2).includes('lobby\0hello') && bob.of(2).includes('lobby\0hello'), 'the message of the new process');
  });
});
