import { describe, expect, it } from 'vitest';
import { withClock, withConnectionNumber } from '../../src/endpoint/options.ts';
import { withConcurrentMessages, withTaskPool } from '../../src/session/options.ts';
import { TaskPool, type TaskPoolOptions } from '../../src/session/task-pool.ts';
import { seededRandom } from '../../src/transport/memory-random.ts';
import { closeLater, lineClient, listen, virtualClock } from '../helpers/endpoint-fixtures.ts';
import { HeldTasks } from '../helpers/endpoint-held-tasks.ts';
import { Deferred, eventually, Recorder, settle, turn } from '../helpers/session-recorder.ts';
import { RawPeer } from '../helpers/session-tcp.ts';

function makePool(options: TaskPoolOptions): TaskPool {
  return closeLater(new TaskPool(options));
}

/** Ends after a number of turns that only the seed knows. */
function randomPause(seed: number): () => Promise<void> {
  const random = seededRandom(seed);
  return () => settle(Math.floor(random() * 4));
}

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, index) => String(index));
}

describe('33. order with a task pool', () => {
  it('33. handles the packages of one session in order when handlers take random times and the pool has 8 places', async () => {
    const pause = randomPause(33);
    const begun: string[] = [];
    const ended: string[] = [];
    const server = await listen(
      {
        async onMessage(session, line) {
          begun.push(line);
          await pause();
          ended.push(line);
          session.send(line);
        },
      },
      [withTaskPool(makePool({ concurrency: 8 }))],
    );
    const client = new Recorder<string>();
    const session = await lineClient(server, client).connect();
    for (const line of numbers(300)) session.send(line);
    await client.until('message', 300);
    expect(begun).toEqual(numbers(300));
    expect(ended).toEqual(numbers(300));
    expect(client.packages).toEqual(numbers(300));
  });

  it('33. serves 100 sessions at most 8 at a time, each in order', async () => {
    const pause = randomPause(100);
    let running = 0;
    let most = 0;
    const pool = makePool({ concurrency: 8 });
    const server = await listen(
      {
        async onMessage(session, line) {
          running++;
          most = Math.max(most, running);
          await pause();
          running--;
          session.send(line);
        },
      },
      [withTaskPool(pool)],
    );
    const replies = new Map<number, string[]>();
    const client = lineClient(
      server,
      {
        onMessage(session, line) {
          replies.set(session.id, [...(replies.get(session.id) ?? []), line]);
        },
      },
      withConnectionNumber(100),
    );
    await client.connect();
    for (const line of numbers(10)) for (const session of client.sessions.values()) session.send(line);
    await eventually(() => [...replies.values()].flat().length === 1000, 'all replies have come');
    expect(most).toBe(8);
    expect([...replies.values()]).toEqual(Array(100).fill(numbers(10)));
  });
});

describe('34. a full pool', () => {
  it('34. pauses the socket, keeps memory bounded, and loses nothing', async () => {
    const gate = new Deferred();
    const lineCount = 4_000;
    const line = 'x'.repeat(1_000);
    const server = new Recorder<string>({
      async onMessage(_session, text) {
        if (text === 'block') await gate.promise;
      },
    });
    const pool = makePool({ concurrency: 1, maxQueue: 0 });
    const endPoint = await listen(server, [withTaskPool(pool)]);
    const blocker = await RawPeer.connect(endPoint);
    blocker.write('block\n');
    await server.until('message');
    const peer = await RawPeer.connect(endPoint);
    const session = await server.session(1);
    peer.write(`${line}\n`.repeat(lineCount));
    const raw = session.connection.raw as typeof peer.socket;
    await eventually(() => raw.isPaused(), 'the socket is paused');
    await settle(50);
    const { bufferedBytes, bytesRead, packagesRead } = session.stats();
    expect(packagesRead).toBe(1);
    // What is read ahead, and one read more.
    expect(bufferedBytes).toBeLessThanOrEqual(65_536 + 524_288);
    expect(bytesRead).toBeLessThan(lineCount * 1_001);
    expect(pool.running + pool.queued).toBe(1);
    gate.resolve();
    await server.until('message', 1 + lineCount);
    expect(session.stats()).toMatchObject({ bytesRead: lineCount * 1_001, packagesRead: lineCount, packagesDropped: 0, bufferedBytes: 0 });
    expect(server.packages.slice(1).every((text) => text === line)).toBe(true);
    await eventually(() => !raw.isPaused(), 'the socket is read again');
  });

  it('34. closes the session that is one too many with the policy reject (OVERLOAD), and no other', async () => {
    const gate = new Deferred();
    const server = new Recorder<string>({
      async onMessage(session, text) {
        if (text === 'block') await gate.promise;
        session.send(text);
      },
    });
    const pool = makePool({ concurrency: 1, maxQueue: 0, overflow: 'reject' });
    const endPoint = await listen(server, [withTaskPool(pool)]);
    const [blocker, refused, idle] = [await RawPeer.connect(endPoint), await RawPeer.connect(endPoint), await RawPeer.connect(endPoint)];
    blocker.write('block\n');
    await server.until('message');
    refused.write('too much\n');
    await refused.ended();
    refused.socket.end();
    await server.until('close');
    expect(server.reasons[0]).toMatchObject({ code: 'OVERLOAD', by: 'local', error: { code: 'TASK_REJECTED' } });
    expect(server.events.filter((event) => event === 'error')).toHaveLength(1);
    expect(pool.refused).toBe(1);
    gate.resolve();
    await blocker.receive('block\n'.length);
    await eventually(() => endPoint.sessions.size === 2, 'the session is forgotten');
    idle.write('still here\n');
    expect((await idle.receive('still here\n'.length)).toString()).toBe('still here\n');
  });

  it('34. drops and counts the package that is one too many with the policy drop', async () => {
    const gate = new Deferred();
    const server = new Recorder<string>({
      async onMessage(session, text) {
        if (text === 'block') await gate.promise;
        session.send(text);
      },
    });
    const endPoint = await listen(server, [withTaskPool(makePool({ concurrency: 1, maxQueue: 0, overflow: 'drop' }))]);
    const blocker = await RawPeer.connect(endPoint);
    blocker.write('block\n');
    await server.until('message');
    const peer = await RawPeer.connect(endPoint);
    const session = await server.session(1);
    peer.write('a\nb\n');
    await eventually(() => session.stats().packagesDropped === 2, 'both were dropped');
    gate.resolve();
    await blocker.receive('block\n'.length);
    peer.write('c\n');
    expect((await peer.receive(2)).toString()).toBe('c\n');
    expect(server.packages).toEqual(['block', 'c']);
    expect(session.stats()).toMatchObject({ packagesRead: 3, packagesDropped: 2 });
    expect(endPoint.stats().packagesDropped).toBe(2);
    expect(server.errors).toEqual([]);
  });
});

describe('35. and 36. the end', () => {
  it('35. starts none of 100 queued tasks after onClose', async () => {
    const gate = new Deferred();
    const server = new Recorder<string>({ onMessage: () => gate.promise });
    const pool = makePool({ concurrency: 1 });
    const endPoint = await listen(server, [withTaskPool(pool), withConcurrentMessages(200)]);
    const peer = await RawPeer.connect(endPoint);
    const session = await server.session();
    peer.write('x\n'.repeat(101));
    await eventually(() => pool.queued === 100, 'all tasks wait');
    const closed = session.close();
    expect(pool.queued).toBe(0);
    peer.socket.end();
    await settle(5);
    // The one that runs is waited for.
    expect(server.events).toEqual(['open', 'message']);
    gate.resolve();
    expect(await closed).toMatchObject({ code: 'NORMAL' });
    await settle();
    expect(server.events).toEqual(['open', 'message', 'close']);
    expect(pool.running).toBe(0);
  });

  it('36. closes the sessions of a pool that is closed under traffic, and nothing else happens', async () => {
    const pool = makePool({ concurrency: 4, maxQueue: 2 });
    const pause = randomPause(36);
    const server = new Recorder<string>({
      async onMessage(session, text) {
        await pause();
        session.send(text);
      },
    });
    const endPoint = await listen(server, [withTaskPool(pool)]);
    const peers = await Promise.all(Array.from({ length: 20 }, () => RawPeer.connect(endPoint)));
    for (const peer of peers) peer.write('x\n'.repeat(1_000));
    await server.until('message', 100);
    await pool.close({ drainTimeoutMs: 0 });
    await server.until('close', 20);
    expect(server.reasons.map(({ code, error }) => [code, error?.code])).toEqual(Array(20).fill(['OVERLOAD', 'POOL_CLOSED']));
    // The server itself lives.
    const late = await RawPeer.connect(endPoint);
    await server.session(20);
    late.write('x\n');
    await late.ended();
    expect(endPoint.isClosed).toBe(false);
  });
});

describe('withConcurrentMessages', () => {
  it('handles up to n packages of a session at once, gives the order up, and holds the peer back beyond n', async () => {
    const held = new HeldTasks();
    const server = new Recorder<string>({
      async onMessage(session, line) {
        await held.task(line)(session.signal);
        session.send(line);
      },
    });
    const endPoint = await listen(server, [withConcurrentMessages(3)]);
    const peer = await RawPeer.connect(endPoint);
    const session = await server.session();
    peer.write(`${numbers(10).join('\n')}\n${'x'.repeat(60_000)}\n`);
    peer.write(`${'y'.repeat(60_000)}\n`);
    const raw = session.connection.raw as typeof peer.socket;
    await eventually(() => raw.isPaused(), 'the socket is paused');
    expect(held.begun).toEqual(['0', '1', '2']);
    await held.end('2');
    await held.end('1');
    await held.end('0');
    expect(held.begun).toEqual(['0', '1', '2', '3', '4', '5']);
    expect((await peer.receive(6)).toString()).toBe('2\n1\n0\n');
    await held.end('3', '4', '5');
    await held.end('6', '7', '8');
    await eventually(() => held.begun.length === 12, 'the rest has come');
    expect(held.most).toBe(3);
    await held.end(...held.begun);
    expect(session.stats()).toMatchObject({ packagesRead: 12, runningHandlers: 0, bufferedBytes: 0 });
  });

  it('counts only handlers that are pending, and takes another number at once', async () => {
    const held = new HeldTasks();
    const server = new Recorder<string>({
      onMessage: (session, line) =>
        line.startsWith('now')
          ? undefined
          : held
              .task(line)(session.signal)
              .then(() => {}),
    });
    const endPoint = await listen(server, [withConcurrentMessages(4)]);
    const peer = await RawPeer.connect(endPoint);
    const session = await server.session();
    peer.write('a\nnow\nb\nnow\nc\nnow\nd\ne\nf\n');
    await eventually(() => held.running === 4, 'four run');
    expect(server.packages).toEqual(['a', 'now', 'b', 'now', 'c', 'now', 'd']);
    session.configure(withConcurrentMessages(1));
    await held.end('a');
    await held.end('b', 'c');
    expect(held.begun).toEqual(['a', 'b', 'c', 'd']);
    await held.end('d');
    expect(held.running).toBe(1);
    session.configure(withConcurrentMessages(2));
    expect(held.running).toBe(2);
    await held.end('e', 'f');
    expect(held.begun).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
  });
});

describe('fairness', () => {
  it.each([
    ['a handler that returns at once', (): void => {}],
    ['a handler whose promise settles at once', (): Promise<void> => Promise.resolve()],
  ])('lets others have their turn beside a firehose with %s', async (_, handle) => {
    const clock = virtualClock();
    let handled = 0;
    const endPoint = await listen(
      {
        onMessage(session, text) {
          if (text === 'ping') {
            session.send('pong');
            return;
          }
          // Each package takes a millisecond.
          clock.block(1);
          handled++;
          return handle();
        },
      },
      [withClock(clock)],
    );
    const firehose = await RawPeer.connect(endPoint);
    const other = await RawPeer.connect(endPoint);
    firehose.write('x\n'.repeat(100_000));
    await eventually(() => handled > 0, 'the firehose is on');
    for (let pings = 1; pings <= 10; pings++) {
      const before = handled;
      let turns = 0;
      other.write('ping\n');
      while (other.receivedBytes < pings * 5) {
        const atTurn = handled;
        await turn();
        turns++;
        // The time is looked at after every 64 packages.
        expect(handled - atTurn).toBeLessThanOrEqual(128);
      }
      expect(turns).toBeLessThan(50);
      expect(handled).toBeGreaterThan(before);
    }
    expect(handled).toBeLessThan(100_000);
  });
});
