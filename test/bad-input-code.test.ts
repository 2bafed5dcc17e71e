import { describe, expect, it } from 'vitest';
import type { ByteReader } from '../src/base/byte-reader.ts';
import type { ByteWriter } from '../src/base/byte-writer.ts';
import { StateError } from '../src/base/errors.ts';
import { LengthFieldHandler } from '../src/codec/length-field.ts';
import type { PkgContext } from '../src/codec/pkg-handler.ts';
import type { CloseReason } from '../src/session/close-reason.ts';
import { withPkgHandler, withTaskPool } from '../src/session/options.ts';
import { TaskPool, type TaskPoolOptions } from '../src/session/task-pool.ts';
import { VirtualClock } from '../src/testing/virtual-clock.ts';
import { Attack, type Outcome } from './helpers/attack.ts';
import { frame, turns, until } from './helpers/raw-peer.ts';
import { type BytesSession, useScene, Watch } from './helpers/scene.ts';
import { rejectionOf } from './helpers/thrown.ts';

const scene = useScene();
const peerText = 'bad\r\nERROR forged line \u001b[31m\u2028 \ud800';

/** Does to its own session what the package of an offender says. */
class UnrulyWatch extends Watch {
  lateWrites: unknown[] = [];

  override onMessage(session: BytesSession, pkg: Buffer): void | Promise<void> {
    switch (String(pkg)) {
      case 'throw':
        throw new Error(peerText);
      case 'throw nothing':
        throw undefined;
      case 'throw something odd':
        throw Object.create(null);
      case 'reject':
        return Promise.reject(new Error('late'));
      case 'reject later':
        return turns(3).then(() => Promise.reject(new Error('later')));
      case 'close':
        void session.close();
        return;
      case 'destroy':
        session.destroy();
        return;
      case 'write after close':
        void session.close();
        this.lateWrites.push(session.send(pkg));
        session.writePkg(pkg).catch((error: unknown) => this.lateWrites.push(error));
        session.writeBytes(pkg).catch((error: unknown) => this.lateWrites.push(error));
        return;
      case 'throw in onClose':
        session.attributes.set('unruly', true);
        session.addCloseCallback(this, 1, () => {
          throw new Error(peerText);
        });
        session.addCloseCallback(this, 2, () => Promise.reject(new Error('callback')));
        void session.close();
        return;
      default:
        super.onMessage(session, pkg);
    }
  }

  override onClose(session: BytesSession, reason: CloseReason): void {
    super.onClose(session, reason);
    if (session.attributes.has('unruly')) throw new Error(peerText);
  }
}

/** A framing that breaks its contract for certain packages. */
class UnrulyHandler extends LengthFieldHandler {
  override read(bytes: ByteReader): Buffer | undefined {
    const pkg = super.read(bytes);
    if (String(pkg) === 'read throws') throw new TypeError('cannot read');
    if (String(pkg) === 'read takes too much') bytes.skip(1_000_000);
    return pkg;
  }
  override write(pkg: Uint8Array, session: PkgContext, out: ByteWriter): void {
    if (String(pkg) === 'write throws') throw new TypeError('cannot write');
    super.write(pkg, session, out);
  }
}

const internal = { closes: ['INTERNAL'], errors: ['LISTENER_FAILED'] } as const;

describe('14 user code that fails', () => {
  it.each<[string, Outcome]>([
    ['throw', internal],
    ['throw nothing', internal],
    ['throw something odd', internal],
    ['reject', internal],
    ['reject later', internal],
    ['close', { closes: ['NORMAL'], errors: [] }],
    ['destroy', { closes: ['NORMAL'], errors: [] }],
    ['write after close', { closes: ['NORMAL'], errors: [] }],
    ['throw in onClose', { closes: ['NORMAL'], errors: [] }],
    ['read throws', { closes: ['PROTOCOL'], errors: ['MALFORMED_PACKAGE'] }],
    ['read takes too much', { closes: ['INTERNAL'], errors: ['READ_OUT_OF_RANGE'] }],
    ['write throws', internal],
  ])('14 %s: its own session closes, and nothing behind it is handled', async (text, outcome) => {
    const watch = new UnrulyWatch(true);
    const attack = await Attack.begin(scene, { watch, options: [withPkgHandler(new UnrulyHandler())] });
    const peer = await attack.offender();
    peer.pour(Buffer.concat([frame('before'), frame(text), frame('behind')]));
    await attack.end(outcome);
    expect(String(peer.received)).not.toContain('behind');
    if (text === 'write after close') {
      expect(watch.lateWrites).toEqual([false, expect.any(StateError), expect.any(StateError)]);
      expect(watch.lateWrites[1]).toMatchObject({ code: 'SESSION_CLOSED' });
    }
    if (text === 'throw in onClose') expect(attack.logged).toHaveLength(3);
    // 114: what came from a peer forges no line.
    for (const line of attack.logged) expect(line).not.toMatch(/[\p{Cc}\p{Zl}\p{Zp}]/u);
  });
});

/** Gives the sessions of offenders, not the honest one's, to a pool. */
class PoolWatch extends Watch {
  readonly pool: TaskPool;
  readonly handled: string[] = [];
  #release = (): void => {};
  readonly released = new Promise<void>((resolve) => {
    this.#release = resolve;
  });

  constructor(options: TaskPoolOptions) {
    super(true);
    this.pool = new TaskPool(options);
  }

  release(): void {
    this.#release();
  }

  override onOpen(session: BytesSession): void {
    super.onOpen(session);
    if (this.opened.length > 1) session.configure(withTaskPool(this.pool));
  }

  override async onMessage(session: BytesSession, pkg: Buffer): Promise<void> {
    const text = String(pkg);
    if (text.startsWith('wait')) await this.released;
    if (text === 'never') await new Promise(() => {});
    if (text === 'throw') throw new Error('in the pool');
    if (text === 'turns') await turns(10);
    this.handled.push(text);
    super.onMessage(session, pkg);
  }
}

describe('111 a task pool', () => {
  it('111 that is full refuses: OVERLOAD for who came last, the others are served', async () => {
    const watch = new PoolWatch({ concurrency: 1, maxQueue: 1, overflow: 'reject' });
    const attack = await Attack.begin(scene, { watch });
    const peers = [await attack.offender(), await attack.offender(), await attack.offender()];
    for (const [index, peer] of peers.entries()) {
      peer.pour(frame(`wait ${index}`));
      await attack.read(10, index);
    }
    await until(() => watch.reasons.length === 1, 'the refusal');
    expect([watch.pool.running, watch.pool.queued, watch.pool.refused]).toEqual([1, 1, 1]);
    await attack.honest();
    watch.release();
    for (const peer of peers.slice(0, 2)) expect(String(await peer.receive(10))).toContain('wait');
    const order = await Promise.all([0, 1, 2].map((index) => attack.session(index)));
    expect(order.map((session) => watch.reasonOf.get(session.id)?.code)).toEqual([undefined, undefined, 'OVERLOAD']);
    expect(watch.errors).toMatchObject([{ code: 'TASK_REJECTED' }]);
    expect([watch.pool.running, watch.pool.queued]).toEqual([0, 0]);
  });

  it('111 gives up a task that never ends, frees its turn once, and serves the next', async () => {
    const clock = new VirtualClock();
    const watch = new PoolWatch({ concurrency: 1, timeoutMs: 5000, clock });
    const attack = await Attack.begin(scene, { watch, clock });
    (await attack.offender()).pour(frame('never'));
    await attack.read(9, 0);
    const next = await attack.offender();
    next.pour(frame('next'));
    await attack.read(8, 1);
    await attack.honest();
    expect(watch.handled.filter((text) => text === 'next')).toEqual([]);
    await attack.pass(5020);
    expect(await next.receive(8)).toEqual(frame('next'));
    expect([watch.pool.running, watch.pool.queued, watch.pool.timedOut]).toEqual([0, 0, 1]);
    await attack.end({ closes: ['OVERLOAD'], errors: ['TASK_TIMEOUT'] });
  });

  it('111 survives tasks that throw, and keeps the order of each session', async () => {
    const watch = new PoolWatch({ concurrency: 4 });
    const attack = await Attack.begin(scene, { watch });
    const [bad, good] = [await attack.offender(), await attack.offender()];
    bad.pour(Buffer.concat([frame('throw'), frame('behind')]));
    good.pour(Buffer.concat([frame('turns'), frame('second'), frame('turns'), frame('fourth')]));
    await good.receive(38);
    expect(watch.handled.filter((text) => !text.startsWith('honest'))).toEqual(['turns', 'second', 'turns', 'fourth']);
    const badSession = watch.opened.find((session) => watch.reasonOf.has(session.id));
    expect(watch.reasonOf.get(badSession?.id ?? -1)).toMatchObject({ code: 'INTERNAL' });
    expect(watch.pool.running).toBe(0);
  });

  it('111 takes no notice of an abort that comes after the end', async () => {
    const pool = new TaskPool({ concurrency: 1 });
    const controller = new AbortController();
    let seen: AbortSignal | undefined;
    const result = await pool.run(
      (signal) => {
        seen = signal;
        return 42;
      },
      { signal: controller.signal },
    );
    controller.abort();
    await turns(3);
    expect([result, seen?.aborted, pool.running]).toEqual([42, false, 0]);
    expect(await pool.run(() => 'next')).toBe('next');
    expect(await pool.close()).toEqual({ dropped: 0 });
    expect(await rejectionOf(pool.run(() => 1))).toMatchObject({ code: 'POOL_CLOSED' });
  });
});
