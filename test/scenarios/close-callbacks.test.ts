import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import { withLogger } from '../../src/endpoint/options.ts';
import type { Server } from '../../src/endpoint/server.ts';
import type { CloseCallback } from '../../src/session/close-callbacks.ts';
import { CloseCallbacks } from '../../src/session/close-callbacks.ts';
import type { CloseCode, CloseReason } from '../../src/session/close-reason.ts';
import { withDrainTimeoutMs, withIdleTimeoutMs } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { Deferred, LogRecorder, Recorder, settle } from '../helpers/session-recorder.ts';

const line = new LineHandler();

interface Scene {
  readonly world: MemoryWorld;
  readonly server: Server<string>;
  readonly session: Session<string>;
  readonly client: Session<string>;
  readonly listener: Recorder<string>;
  readonly logs: LogRecorder;
}

/** An open session of a server, seen from both sides. Its listener throws on the text 'throw' and echoes anything else. */
async function open(): Promise<Scene> {
  const world = new MemoryWorld();
  const logs = new LogRecorder();
  const listener = new Recorder<string>({
    onMessage: (session, text) => {
      if (text === 'throw') throw new Error('told to');
      session.send(text);
    },
  });
  const server = await world.server(line, listener, [withLogger(logs), withDrainTimeoutMs(1_000)]);
  const client = await world.connect(line, new Recorder<string>());
  return { world, server, session: await listener.session(), client, listener, logs };
}

/** Adds callbacks under one handler, each of which writes its key down. */
function add(session: Session<string>, ran: string[], ...keys: string[]): void {
  for (const key of keys) expect(session.addCloseCallback('h', key, () => void ran.push(key))).toBe(true);
}

describe('running', () => {
  const endings: [string, CloseCode, (scene: Scene) => unknown][] = [
    ['close()', 'NORMAL', ({ session }) => session.close()],
    ['destroy()', 'NORMAL', ({ session }) => session.destroy()],
    ['destroy(error)', 'RESET', ({ session }) => session.destroy(new Error('enough'))],
    ["the peer's FIN", 'PEER_CLOSED', ({ client }) => client.end()],
    ["the peer's RST", 'RESET', ({ client }) => client.destroy()],
    ['a cut cable', 'RESET', ({ world }) => world.link().cut()],
    ['an idle time-out', 'IDLE', ({ session }) => session.configure(withIdleTimeoutMs(50))],
    ['a listener that throws', 'INTERNAL', ({ client }) => client.send('throw')],
    ['the closing endpoint', 'GOING_AWAY', ({ server }) => server.close()],
  ];

  it.each(endings)('80. A, B, C run in this order, once each, after %s', async (_how, code, end) => {
    const scene = await open();
    const ran: string[] = [];
    add(scene.session, ran, 'A', 'B', 'C');
    void end(scene);
    await scene.world.finish(scene.session.closed);
    expect((await scene.session.closed).code).toBe(code);
    expect(ran).toEqual(['A', 'B', 'C']);
    expect(scene.listener.count('close')).toBe(1);
  });

  it('85. B throws: A and C run, the failure is logged once, and the close completes', async () => {
    const { session, logs } = await open();
    const ran: string[] = [];
    add(session, ran, 'A', 'B', 'C');
    session.addCloseCallback('h', 'B', () => {
      throw new Error('B is bad');
    });
    expect(await session.close()).toMatchObject({ code: 'NORMAL', error: undefined });
    expect(ran).toEqual(['A', 'C']);
    expect(logs.errors).toHaveLength(1);
    expect(logs.errors[0]).toContain('B is bad');
  });

  it('86. B rejects: the same; asynchronous callbacks run one after another', async () => {
    const { session, logs } = await open();
    const ran: string[] = [];
    const gate = new Deferred();
    session.addCloseCallback('h', 'A', async () => {
      ran.push('A begins');
      await gate.promise;
      ran.push('A ends');
    });
    session.addCloseCallback('h', 'B', async () => {
      await settle(1);
      throw new Error('B is bad');
    });
    add(session, ran, 'C');
    const closing = session.close();
    await settle();
    expect(ran).toEqual(['A begins']);
    gate.resolve();
    await closing;
    expect(ran).toEqual(['A begins', 'A ends', 'C']);
    expect(logs.errors).toHaveLength(1);
    expect(logs.errors[0]).toContain('B is bad');
  });

  it('93. a callback that blocks does not delay other sessions, and close() resolves after it', async () => {
    const { world, session, listener } = await open();
    const other = await world.connect(line, new Recorder<string>());
    const gate = new Deferred();
    session.addCloseCallback('h', 'slow', () => gate.promise);
    let isClosed = false;
    const closing = session.close().then(() => {
      isClosed = true;
    });
    await listener.until('close');
    await world.clock.advance(900);
    other.send('hello');
    await listener.until('message');
    await settle();
    expect([isClosed, session.state]).toEqual([false, 'closing']);
    gate.resolve();
    await closing;
    expect(session.state).toBe('closed');
  });

  it('93. one that never settles holds the close up for the drain time-out, and the next one runs', async () => {
    const { world, session, logs } = await open();
    const ran: string[] = [];
    session.addCloseCallback('h', 'never', () => new Promise(() => {}));
    add(session, ran, 'next');
    const closing = session.close();
    await world.clock.advance(990);
    expect(ran).toEqual([]);
    await world.clock.advance(20);
    expect(ran).toEqual(['next']);
    await closing;
    expect(logs.warnings).toHaveLength(1);
  });

  it('94. the order is onError, onClose, callbacks, closed, whatever else is waited for', async () => {
    const { world, session, client, listener } = await open();
    const order: string[] = [];
    const note = (name: string) => (): void => void order.push(`${listener.events.slice(2).join(' ')} ${name}`);
    session.addCloseCallback('h', 1, async () => {
      await settle(3);
      note('first')();
    });
    session.addCloseCallback('h', 2, note('second'));
    void session.closed.then(note('closed'));
    client.send('throw');
    await world.finish(session.closed);
    expect(order).toEqual(['error close first', 'error close second', 'error close closed']);
  });

  it('95. close() ten times runs each callback once', async () => {
    const { session } = await open();
    const ran: string[] = [];
    add(session, ran, 'A', 'B');
    await Promise.all(Array.from({ length: 10 }, () => session.close()));
    session.destroy();
    await session.close();
    expect(ran).toEqual(['A', 'B']);
  });

  it('97. close() and destroy() inside a callback do not wait for themselves', async () => {
    const { session } = await open();
    const reasons: CloseReason[] = [];
    session.addCloseCallback('h', 1, async () => {
      reasons.push(await session.close());
      session.destroy(new Error('too late'));
      await session[Symbol.asyncDispose]();
    });
    const reason = await session.close();
    expect(reasons).toEqual([reason]);
    expect(reason).toMatchObject({ code: 'NORMAL', error: undefined });
  });

  it('92. a callback reads id, addresses and attributes', async () => {
    const { session, server } = await open();
    session.attributes.set('user', 'ada');
    const read = (): unknown[] => [
      session.id,
      session.remoteAddress.text,
      session.localAddress.text,
      session.attributes.get('user'),
      session.endPoint,
    ];
    const before = read();
    const seen: unknown[] = [];
    session.addCloseCallback('h', 1, () => void seen.push(...read()));
    await session.close();
    expect(seen).toEqual(before);
    expect(seen.slice(3)).toEqual(['ada', server]);
  });
});

describe('a session that never opened well', () => {
  it.each([
    ['onOpen', 1],
    ['newSession', 0],
  ])('91. callbacks run when %s has failed', async (where, closes) => {
    const world = new MemoryWorld();
    const ran: string[] = [];
    const fail = (): never => {
      throw new Error('no');
    };
    const listener = new Recorder<string>(where === 'onOpen' ? { onOpen: fail } : {});
    await world.server(line, listener, [], (session) => {
      add(session, ran, 'A', 'B');
      if (where === 'newSession') fail();
    });
    await world.connect(line, new Recorder<string>());
    await listener.until('error');
    await world.clock.advance(10_000);
    expect(ran).toEqual(['A', 'B']);
    expect(listener.count('close')).toBe(closes);
  });
});

describe('the list', () => {
  it('81. adding the same pair again replaces the callback in its place', async () => {
    const { session } = await open();
    const ran: string[] = [];
    add(session, ran, 'A', 'B', 'C');
    expect(session.addCloseCallback('h', 'B', () => void ran.push('B2'))).toBe(true);
    expect(session.closeCallbackCount).toBe(3);
    await session.close();
    expect(ran).toEqual(['A', 'B2', 'C']);
  });

  it.each([
    ['the first', 'A', 'B C D'],
    ['one in the middle', 'B', 'A C D'],
    ['the last', 'C', 'A B D'],
  ])('82. %s is removed and D added: D is last, the others keep their order', async (_which, key, order) => {
    const { session } = await open();
    const ran: string[] = [];
    add(session, ran, 'A', 'B', 'C');
    expect(session.removeCloseCallback('h', key)).toBe(true);
    add(session, ran, 'D');
    await session.close();
    expect(ran.join(' ')).toBe(order);
  });

  it('83. removing what is not there, or twice, changes nothing and returns false', async () => {
    const { session } = await open();
    const ran: string[] = [];
    expect(session.removeCloseCallback('h', 'A')).toBe(false);
    add(session, ran, 'A', 'B');
    expect(session.removeCloseCallback('h', 'C')).toBe(false);
    expect(session.removeCloseCallback('g', 'A')).toBe(false);
    expect([session.removeCloseCallback('h', 'A'), session.removeCloseCallback('h', 'A')]).toEqual([true, false]);
    expect(session.closeCallbackCount).toBe(1);
    await session.close();
    expect(ran).toEqual(['B']);
  });

  it('84. pairs are told apart by both halves and by type', async () => {
    const { session } = await open();
    const pairs: [unknown, unknown][] = [
      ['a', 'bc'],
      ['ab', 'c'],
      ['h', 1],
      ['h', '1'],
      ['g', 1],
      [undefined, null],
      [null, undefined],
    ];
    const ran: number[] = [];
    for (const [index, [handler, key]] of pairs.entries()) session.addCloseCallback(handler, key, () => void ran.push(index));
    expect(session.closeCallbackCount).toBe(pairs.length);
    expect(session.removeCloseCallback('h', '1')).toBe(true);
    await session.close();
    expect(ran).toEqual([0, 1, 2, 4, 5, 6]);
  });

  it('87. null and undefined are ignored and do not replace', async () => {
    const { session } = await open();
    const ran: string[] = [];
    add(session, ran, 'A');
    expect(session.addCloseCallback('h', 'A', null)).toBe(false);
    expect(session.addCloseCallback('h', 'A', undefined)).toBe(false);
    expect(session.addCloseCallback('h', 'B', null)).toBe(false);
    expect(session.closeCallbackCount).toBe(1);
    await session.close();
    expect(ran).toEqual(['A']);
  });

  it('88. objects, arrays, functions and symbols are keys by identity, and NaN is one key', async () => {
    const { session } = await open();
    const nothing: CloseCallback = () => {};
    for (const make of [() => ({}), () => [1], () => () => {}, () => Symbol('s'), () => new Map(), () => ({ inner: [[]] })]) {
      const [one, other]: [unknown, unknown] = [make(), make()];
      const before = session.closeCallbackCount;
      for (const key of [one, other, one]) expect(session.addCloseCallback(key, key, nothing)).toBe(true);
      expect(session.closeCallbackCount).toBe(before + 2);
      expect([session.removeCloseCallback(one, other), session.removeCloseCallback(one, one)]).toEqual([false, true]);
    }
    const before = session.closeCallbackCount;
    session.addCloseCallback(Number.NaN, Number.NaN, nothing);
    session.addCloseCallback(Number.NaN, Number.NaN, nothing);
    expect(session.closeCallbackCount).toBe(before + 1);
    expect(session.removeCloseCallback(Number.NaN, Number.NaN)).toBe(true);
  });

  it('89. adding inside a callback, while closing or after it returns false, and what was added does not run', async () => {
    const { session } = await open();
    const ran: string[] = [];
    const results: boolean[] = [];
    const late = (key: string): void => void results.push(session.addCloseCallback('h', key, () => void ran.push(key)));
    session.addCloseCallback('h', 'A', () => late('inside'));
    const closing = session.close();
    late('while closing');
    await closing;
    late('after');
    expect(results).toEqual([false, false, false]);
    expect(ran).toEqual([]);
  });

  it('90. a callback that is removed by an earlier one still runs, because the list is taken when the first one begins', async () => {
    const { session } = await open();
    const ran: string[] = [];
    session.addCloseCallback('h', 'A', () => void ran.push(`removed ${session.removeCloseCallback('h', 'B')}`));
    add(session, ran, 'B');
    await session.close();
    expect(ran).toEqual(['removed true', 'B']);
    expect(session.closeCallbackCount).toBe(1);
  });

  it('96. any sequence of add, replace and remove gives the order of a simple model', () => {
    const name = fc.constantFrom<unknown>('a', 'b', 1, '1', Number.NaN, null, undefined, 0, -0);
    const step = fc.record({ isAdd: fc.boolean(), handler: name, key: name });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const callbacks = new CloseCallbacks();
        const model: { handler: unknown; key: unknown; id: number }[] = [];
        const ran: number[] = [];
        for (const [id, { isAdd, handler, key }] of steps.entries()) {
          // As includes() compares: NaN is NaN, and 0 is -0.
          const index = model.findIndex((entry) => [entry.handler].includes(handler) && [entry.key].includes(key));
          if (isAdd) {
            callbacks.add(handler, key, () => void ran.push(id));
            if (index === -1) model.push({ handler, key, id });
            else model[index] = { handler, key, id };
          } else {
            expect(callbacks.remove(handler, key)).toBe(index !== -1);
            if (index !== -1) model.splice(index, 1);
          }
          expect(callbacks.size).toBe(model.length);
        }
        for (const callback of callbacks.snapshot()) void callback();
        expect(ran).toEqual(model.map(({ id }) => id));
      }),
    );
  });
});
