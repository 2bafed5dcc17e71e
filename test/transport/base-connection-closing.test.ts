import { describe, expect, it } from 'vitest';
import { TransportError } from '../../src/base/errors.ts';
import { ConnectionRecorder } from '../../src/testing/index.ts';
import { FakeConnection, LIMITS, onSent, setUp, turn } from '../helpers/connection-fake.ts';

describe('reading', () => {
  it('delivers nothing before open(), and then all that came, in order', () => {
    const fake = new FakeConnection();
    fake.receive('one ');
    fake.receive('two');
    const recorder = new ConnectionRecorder(fake);
    expect(recorder.length).toBe(0);
    recorder.open(LIMITS);
    expect(String(recorder.bytes)).toBe('one two');
    expect(fake.bytesRead).toBe(7);
  });

  it('refuses a second open(), which would take the end away from the first', () => {
    const { fake, recorder, connection } = setUp();
    expect(() => connection.open(new ConnectionRecorder(fake), LIMITS)).toThrow(
      expect.objectContaining({ code: 'WRONG_STATE', message: 'open: expected one call, given a second' }),
    );
    fake.receive('still heard');
    expect(String(recorder.bytes)).toBe('still heard');
  });

  it('keeps what still comes while it is paused, and stops again where it is paused again', () => {
    const { fake, recorder, connection } = setUp();
    connection.pause();
    for (const text of ['1', '2', '3']) fake.receive(text);
    fake.receiveEnd();
    recorder.onBytesHook = () => connection.pause();
    connection.resume();
    expect(String(recorder.bytes)).toBe('1');
    connection.resume();
    expect(String(recorder.bytes)).toBe('12');
    connection.resume();
    expect([String(recorder.bytes), recorder.ends]).toEqual(['123', 0]);
    connection.resume();
    expect(recorder.ends).toBe(1);
    expect(recorder.breaches).toEqual([]);
  });

  it('owns what it keeps: the lent buffer may change', () => {
    const { fake, recorder, connection } = setUp();
    connection.pause();
    const lent = Buffer.from('good');
    Reflect.apply(Reflect.get(fake, 'onBytes'), fake, [lent]);
    lent.fill('x');
    connection.resume();
    expect(String(recorder.bytes)).toBe('good');
  });
});

describe('closing', () => {
  it('holds back an end in order until a paused reader has got everything', async () => {
    for (const how of ['resume', 'close', 'abort'] as const) {
      const { fake, recorder, connection } = setUp();
      connection.pause();
      fake.receive('last words');
      fake.receiveEnd();
      fake.finish();
      await turn();
      expect(recorder.closes).toBe(0);
      connection[how]();
      await turn();
      expect(recorder.closes).toBe(1);
      expect(String(recorder.bytes)).toBe(how === 'resume' ? 'last words' : '');
      expect(recorder.events).toEqual(how === 'resume' ? ['end', 'close'] : ['close']);
      expect(recorder.breaches).toEqual([]);
    }
  });

  it('does not hold back an end with an error', () => {
    const { fake, recorder, connection } = setUp();
    connection.pause();
    fake.receive('lost');
    fake.finish(new TransportError('CONNECTION_RESET', 'a test'));
    expect(recorder.closeError?.code).toBe('CONNECTION_RESET');
  });

  it('tells a sink that comes after the end, with the error', async () => {
    const fake = new FakeConnection();
    const error = new TransportError('CONNECTION_RESET', 'a test');
    fake.finish(error);
    const recorder = new ConnectionRecorder(fake).open(LIMITS);
    expect(recorder.closes).toBe(0);
    await turn();
    expect([recorder.closes, recorder.closeError]).toEqual([1, error]);
    expect(fake.calls).toEqual([]);
  });

  it('ends once although a receipt calls close() while close() flushes', () => {
    const { fake, connection, send } = setUp();
    send(
      'x',
      onSent(() => connection.close()),
    );
    connection.close();
    expect(fake.calls).toEqual(['open', 'resume', 'end', 'close']);
  });

  it('ends behind what is queued, and not before', () => {
    const { fake, connection, send, block } = setUp();
    block('one');
    send('two');
    connection.close();
    expect(send('three')).toBe(false);
    fake.take();
    expect(fake.calls).not.toContain('end');
    fake.take();
    expect(fake.sentText).toBe('onetwo');
    expect(fake.calls.slice(-2)).toEqual(['end', 'close']);
  });

  it('does nothing more after an abort but report the close', async () => {
    const { fake, recorder, connection, send, block } = setUp();
    block('one');
    send('two');
    connection.end();
    connection.abort();
    connection.abort();
    connection.close();
    connection.end();
    connection.pause();
    connection.resume();
    connection.flush();
    fake.receive('late');
    fake.receiveEnd();
    fake.take();
    await turn();
    expect(fake.calls).toEqual(['open', 'resume', 'abort']);
    expect(recorder.events).toEqual([]);
    expect(recorder.length).toBe(0);
    fake.finish();
    fake.finish();
    expect(recorder.events).toEqual(['close']);
  });

  it('says onFinished after close() when all is sent, unless it is over by then', async () => {
    const first = setUp();
    first.block('one');
    first.connection.close();
    await turn();
    expect(first.recorder.finishes).toBe(0);
    first.fake.take();
    await turn();
    expect(first.recorder.finishes).toBe(1);
    const second = setUp();
    second.connection.close();
    second.fake.finish();
    await turn();
    expect(second.recorder.events).toEqual(['close']);
  });
});
