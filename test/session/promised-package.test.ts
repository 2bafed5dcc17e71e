import { expect, it } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import type { PkgReader, PkgWriter } from '../../src/codec/pkg-handler.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { Recorder } from '../helpers/session-recorder.ts';

const line = new LineHandler();
type Framing = PkgReader<unknown> & PkgWriter<string>;

/** A handler that makes something else of each line. */
function making(make: (text: string) => unknown): Framing {
  return {
    read(bytes) {
      const text = line.read(bytes);
      return text === undefined ? undefined : make(text);
    },
    write: (pkg, session, out) => line.write(pkg, session, out),
  };
}

it.each([
  ['resolves', (text: string) => Promise.resolve(text)],
  ['rejects', () => Promise.reject(new Error('not ours to report'))],
])('a PkgHandler that returns a promise that %s is told with the first package, and its session closes alone', async (_what, make) => {
  const world = new MemoryWorld();
  const heard = new Recorder<unknown, string>();
  await world.server<unknown, string>(
    making((text) => (text === 'good' ? text : make(text))),
    heard,
  );
  const good = await world.connect(line, new Recorder<string>());
  good.send('good');
  await heard.until('message');
  const bad = await world.connect(line, new Recorder<string>());
  bad.send('bad');
  bad.send('good');
  await heard.until('error');
  expect(heard.errors).toMatchObject([{ name: 'ListenerError', code: 'PROMISE_RETURNED', phase: 'read' }]);
  expect(heard.errors[0]?.message).toBe('PkgHandler.read returned a promise: expected a package, made synchronously');
  await world.clock.advance(10_000);
  expect(await bad.closed).toMatchObject({ code: 'PEER_CLOSED' });
  expect(heard.packages).toEqual(['good']);
  expect(good.state).toBe('open');
});

it('a package with a method "then" that is no promise is a package like any other', async () => {
  const world = new MemoryWorld();
  const heard = new Recorder<unknown, string>();
  const plan = Object.fromEntries([['then', () => 'that']]);
  await world.server<unknown, string>(
    making(() => plan),
    heard,
  );
  const session = await world.connect(line, new Recorder<string>());
  session.send('x');
  await heard.until('message');
  expect(heard.packages).toEqual([plan]);
});
