import { describe, expect, it } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import { withLogger } from '../../src/endpoint/options.ts';
import { withEventListener, withTaskPool } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { TaskPool } from '../../src/session/task-pool.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { Deferred, LogRecorder, Recorder, settle } from '../helpers/session-recorder.ts';

const line = new LineHandler();

describe('close() that a handler waits for', () => {
  it.each<[string, (session: Session<string>) => Promise<unknown>]>([
    ['at once', (session) => session.close()],
    ['after something else', (session) => settle(3).then(() => session.close())],
    [
      'as the second to close',
      (session) => {
        session.destroy();
        return session.close();
      },
    ],
    ['by an await using block', (session) => session[Symbol.asyncDispose]()],
  ])('%s: does not wait for that handler, which goes on with the reason before onClose', async (_when, close) => {
    const world = new MemoryWorld();
    const order: unknown[] = [];
    const logs = new LogRecorder();
    const listener = new Recorder<string>({
      onMessage: async (session) => {
        session.send('bye');
        order.push(await close(session), session.state);
      },
      onClose: () => void order.push('onClose'),
    });
    await world.server(line, listener, [withLogger(logs)]);
    const heard = new Recorder<string>();
    const client = await world.connect(line, heard);
    client.send('quit');
    await listener.until('close');
    const { closed } = await listener.session();
    // Not a millisecond has passed.
    expect(order).toEqual([order[0], 'closing', 'onClose']);
    expect([undefined, listener.reasons[0]]).toContain(order[0]);
    expect(await closed).toMatchObject({ code: 'NORMAL', by: 'local' });
    expect(logs.warnings).toEqual([]);
  });

  it('in onOpen and with a task pool as well', async () => {
    const world = new MemoryWorld();
    const close = async (session: Session<string>): Promise<void> => void (await session.close());
    const [opening, pooled] = [new Recorder<string>({ onOpen: close }), new Recorder<string>({ onMessage: close })];
    await world.server(line, opening, [withTaskPool(new TaskPool())], (session) => {
      if (opening.sessions.length > 0) session.configure(withEventListener<string, string>(pooled));
    });
    await world.connect(line, new Recorder<string>());
    await opening.until('close');
    (await world.connect(line, new Recorder<string>())).send('quit');
    await pooled.until('close');
    expect([opening.events, pooled.events]).toEqual([
      ['open', 'close'],
      ['open', 'message', 'close'],
    ]);
  });

  it('is waited for by others who wait for closed, which comes last', async () => {
    const world = new MemoryWorld();
    const gate = new Deferred();
    const listener = new Recorder<string>({ onMessage: () => gate.promise });
    await world.server(line, listener);
    (await world.connect(line, new Recorder<string>())).send('work');
    await listener.until('message');
    const session = await listener.session();
    let isOver = false;
    void session.closed.then(() => {
      isOver = true;
    });
    expect(await session.close()).toMatchObject({ code: 'NORMAL' });
    expect([isOver, listener.events]).toEqual([false, ['open', 'message']]);
    gate.resolve();
    await session.closed;
    expect(listener.events).toEqual(['open', 'message', 'close']);
  });

  it('cannot be told apart where it waits for closed: that ends with the drain time-out, and a warning', async () => {
    const world = new MemoryWorld();
    const logs = new LogRecorder();
    const listener = new Recorder<string>({
      onMessage: async (session) => {
        void session.close();
        await session.closed;
      },
    });
    await world.server(line, listener, [withLogger(logs)]);
    (await world.connect(line, new Recorder<string>())).send('quit');
    await world.clock.advance(2_900);
    expect(listener.events).toEqual(['open', 'message']);
    await world.clock.advance(200);
    expect(listener.events).toEqual(['open', 'message', 'close']);
    expect(logs.warnings).toEqual([expect.stringContaining('session.closed')]);
  });
});
