import path from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished } from 'vitest';
import type { Backplane } from '../../src/backplane/backplane.ts';
import type { BusBackplaneOptions } from '../../src/backplane/bus-options.ts';
import { BackplaneRecorder, backplaneContract } from '../../src/testing/index.ts';
import type { ProgramArguments } from './backplane-child.ts';
import { BackplaneServer, newPrefix, nodeAt, type ServerKind, serverService } from './backplane-server.ts';
import { until } from './raw-peer.ts';
import { rejectionOf } from './thrown.ts';
import { hasCommand, itIf, Tool } from './tools.ts';

const program = path.join(import.meta.dirname, 'backplane-child.ts');
const LEASE_MS = 2_000;

export interface ServerCases {
  /** The server of the test file; only within tests. */
  server(): BackplaneServer;
  open(prefix: string, options?: BusBackplaneOptions): Promise<BackplaneRecorder>;
}

/** What holds for a backplane over any server: the contract, and the ways in which a server can fail. */
export function serverCases(kind: ServerKind, more: (cases: ServerCases, test: ReturnType<typeof itIf>) => void): void {
  const itServer = itIf(hasCommand(`${kind}-server`), `${kind}-server`, `apt-get install ${kind}-server`);
  let running: BackplaneServer | undefined;
  const server = (): BackplaneServer => {
    if (running === undefined) throw new Error('the server was not started');
    return running;
  };
  const open: ServerCases['open'] = async (prefix, options = {}) => {
    const node = new BackplaneRecorder(nodeAt(kind, server().place, prefix, options));
    onTestFinished(() => node.backplane.close());
    await node.backplane.open(node);
    return node;
  };

  describe(`${kind}-server`, () => {
    beforeAll(async () => {
      if (hasCommand(`${kind}-server`)) running = await BackplaneServer.start(kind);
    });
    afterAll(() => running?.stop());

    backplaneContract({ describe, it: itServer }, { name: `${kind}-server`, service: () => serverService(server()), messages: 10_000 });

    itServer('is heard again within a second of its return, and the gap is told', async () => {
      const prefix = newPrefix();
      const nodes = [await open(prefix), await open(prefix)];
      const [first, second] = nodes;
      second?.backplane.subscribe('news');
      await arrives(first, second, 'before');
      await server().kill();
      await until(() => nodes.every(({ backplane }) => !backplane.isUp), 'the nodes to notice');
      await server().start();
      const startedAtMs = performance.now();
      await arrives(first, second, 'after');
      expect(performance.now() - startedAtMs).toBeLessThan(1_000);
      expect(second?.gaps).toContainEqual({ reason: 'disconnected', count: undefined });
      expect(second?.errors.map(({ code }) => code)).toEqual(['BACKPLANE_FAILED']);
      expect(second?.nodesDown).toEqual([]);
    });

    itServer('is given up when it freezes, and comes back when it goes on', async () => {
      const prefix = newPrefix();
      const nodes = [await open(prefix), await open(prefix)];
      const [first, second] = nodes;
      second?.backplane.subscribe('news');
      first?.backplane.setMember('lobby', 'ann', Buffer.from('1'));
      second?.backplane.follow('lobby');
      await until(() => second?.membersOf('lobby')['ann'] === '1', 'the member');
      server().freeze();
      onTestFinished(() => server().wakeUp());
      await until(() => nodes.every(({ backplane }) => !backplane.isUp), 'the nodes to notice');
      expect(first?.errors[0]?.message).toMatch(/silent for \d+ ms/);
      first?.backplane.setMember('lobby', 'ann', Buffer.from('2'));
      server().wakeUp();
      await until(() => nodes.every(({ backplane }) => backplane.isUp), 'the nodes to come back', 15_000);
      await until(() => second?.membersOf('lobby')['ann'] === '2', 'the member as it is now');
      await arrives(first, second, 'after');
    });

    itServer('takes the members of a killed process out within the lease', async () => {
      const prefix = newPrefix();
      const node = await open(prefix);
      node.backplane.follow('lobby');
      node.backplane.subscribe('from child');
      const programArguments: ProgramArguments = [kind, `${server().place}`, prefix];
      const child = new Tool(process.execPath, ['--import', 'tsx', program, ...programArguments]);
      onTestFinished(() => child.stop());
      const nodeId = await child.finds(/^(\S+)$/m);
      await until(() => node.membersOf('lobby')['child'] === `${child.child.pid}`, 'the member of the other process');
      expect(await node.backplane.locate('client of child')).toBe(nodeId);
      node.backplane.publishTo(nodeId, 'hello', Buffer.from('hello'));
      await until(() => node.on('from child').includes('hello'), 'the answer');
      const killedAtMs = performance.now();
      child.stop();
      await until(() => node.nodesDown.includes(nodeId), 'the end of the other process');
      // A wheel's tick and a busy machine are allowed for.
      expect(performance.now() - killedAtMs).toBeLessThan(LEASE_MS + 500);
      expect(node.membersOf('lobby')).toEqual({});
      expect((await node.backplane.members('lobby')).size).toBe(0);
      expect(await node.backplane.locate('client of child')).toBeUndefined();
      node.assertNoBreach();
    });

    itServer('refuses to open where nobody listens', async () => {
      const place = kind === 'redis' ? `${server().place}.nobody` : 1;
      const backplane: Backplane = nodeAt(kind, place, newPrefix());
      const thrown = await rejectionOf(backplane.open(new BackplaneRecorder(backplane)));
      expect(thrown).toMatchObject({ name: 'TransportError', code: 'BACKPLANE_FAILED' });
      expect(backplane.isUp).toBe(false);
      await backplane.close();
    });

    more({ server, open }, itServer);
  });
}

/** Publishes until it arrives: what is sent before a subscription has begun is not heard. */
export async function arrives(from: BackplaneRecorder | undefined, to: BackplaneRecorder | undefined, text: string): Promise<void> {
  let turns = 0;
  const isHere = (): boolean => {
    if (turns++ % 500 === 0) from?.backplane.publish('news', Buffer.from(text));
    return to?.on('news').includes(text) === true;
  };
  await until(isHere, `the message ${text}`, 15_000);
}
