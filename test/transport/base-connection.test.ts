import { describe, expect, it } from 'vitest';
import { ReceiptRecorder } from '../../src/testing/index.ts';
import { FakeConnection, LIMITS, onSent, setUp, turn } from '../helpers/connection-fake.ts';

describe('batching', () => {
  it('hands a batch over before its end when it has grown to 64 KiB', () => {
    const { fake, send } = setUp();
    send('a'.repeat(65_535));
    expect(fake.taken).toHaveLength(0);
    send('b');
    expect(fake.taken.map((bytes) => bytes.length)).toEqual([65_536]);
  });

  it('copies many small chunks into one, and passes a few on as they are', () => {
    const { fake, connection } = setUp();
    for (let count = 0; count < 9; count++) connection.sendShared(Buffer.of(65 + count));
    connection.flush();
    expect(fake.lastChunks).toHaveLength(1);
    expect(fake.sentText).toBe('ABCDEFGHI');
    for (let count = 0; count < 3; count++) connection.sendShared(Buffer.of(65 + count));
    connection.flush();
    expect(fake.lastChunks).toHaveLength(3);
  });

  it('does not overwrite what the operating system has not taken yet', async () => {
    for (const sendsLater of [false, true]) {
      const { fake, recorder, block } = setUp({}, 'stream', sendsLater);
      block('first');
      const other = setUp();
      other.send('x'.repeat(1000));
      await turn();
      recorder.send(Buffer.from('second'));
      other.send('y'.repeat(1000));
      await turn();
      fake.isTaking = true;
      fake.take();
      expect(fake.sentText).toBe('firstsecond');
    }
  });

  it('leaves nothing of an aborted connection behind for the next one, wherever the abort came from', async () => {
    const endings = [
      (a: ReturnType<typeof setUp>): void => {
        a.connection.beginPackage().writeBytes(Buffer.from('half'));
        a.connection.abort();
        a.connection.cancelPackage();
      },
      (a: ReturnType<typeof setUp>): void => {
        a.connection.beginPackage().writeBytes(Buffer.from('half'));
        a.connection.abort();
        a.connection.endPackage();
      },
      (a: ReturnType<typeof setUp>): void => a.connection.abort(),
      (a: ReturnType<typeof setUp>): void => a.fake.finish(),
    ];
    for (const end of endings) {
      const a = setUp();
      const b = setUp();
      a.send('secret');
      end(a);
      b.send('mine');
      await turn();
      expect(b.fake.sentText).toBe('mine');
      expect(a.fake.sentText).toBe('');
    }
  });

  it('cancels a package of a blocked connection without a trace', async () => {
    const { connection, fake, block } = setUp();
    block('one');
    connection.beginPackage().writeBytes(Buffer.from('never'));
    connection.cancelPackage();
    const other = setUp();
    other.send('other');
    await turn();
    expect(other.fake.sentText).toBe('other');
    fake.take();
    expect(fake.sentText).toBe('one');
  });

  it('flushes the others when one connection fails, and closes that one', async () => {
    const [a, b, c] = [setUp(), setUp(), setUp()];
    a.send('a');
    b.send('b');
    c.send('c');
    b.fake.failure = new Error('broken pipe');
    await turn();
    expect([a.fake.sentText, c.fake.sentText]).toEqual(['a', 'c']);
    expect(b.fake.calls).toContain('abort TRANSPORT_FAILED');
    c.send('d');
    await turn();
    expect(c.fake.sentText).toBe('cd');
  });

  it('sends the answer of a sink that throws, and goes on batching', async () => {
    const { fake, recorder, send } = setUp();
    recorder.onBytesHook = () => {
      send('answer');
      throw new Error('a bug of the sink');
    };
    expect(() => fake.receive('x')).toThrow('a bug of the sink');
    expect(fake.sentText).toBe('answer');
    send(' and more');
    await turn();
    expect(fake.sentText).toBe('answer and more');
  });

  it('postpones an end() from inside write until the package is complete', async () => {
    const { connection, fake, send } = setUp();
    send('before ');
    const writer = connection.beginPackage();
    writer.writeBytes(Buffer.from('whole '));
    connection.end();
    writer.writeBytes(Buffer.from('package'));
    connection.endPackage();
    await turn();
    expect(fake.sentText).toBe('before whole package');
    expect(fake.calls.at(-1)).toBe('end');
    expect(send('late')).toBe(false);
  });

  it('refuses an endPackage without a beginPackage', () => {
    const { connection } = setUp();
    expect(() => connection.endPackage()).toThrow(expect.objectContaining({ code: 'WRONG_STATE' }));
    connection.cancelPackage();
  });

  it('hands over each message by itself, and those that waited one at a time', () => {
    const { fake, connection, send } = setUp({}, 'message');
    send('one');
    send('');
    fake.isTaking = false;
    send('two');
    send('three');
    connection.sendShared(Buffer.from('four'));
    expect(fake.taken.map(String)).toEqual(['one', '']);
    fake.take();
    fake.take();
    fake.isTaking = true;
    fake.take();
    expect(fake.taken.map(String)).toEqual(['one', '', 'two', 'three', 'four']);
    expect(connection.writes).toBe(5);
    expect(connection.bytesWritten).toBe(15);
  });
});

describe('the send queue of a connection', () => {
  it('keeps a package sent from inside a receipt behind those that waited', () => {
    const { fake, send, block } = setUp({ maxQueueBytes: 1_000_000 });
    block(
      '1',
      onSent(() => send('5')),
    );
    send(
      '2',
      onSent(() => send('6')),
    );
    send('3'.repeat(70_000));
    send('4');
    fake.take();
    fake.take();
    fake.isTaking = true;
    fake.take();
    expect(fake.sentText.replace(/3+/, '3')).toBe('123456');
  });

  it('drains also when a receipt has filled the batch again', async () => {
    const { fake, recorder, send, block } = setUp({ lowWaterMarkBytes: 0 });
    block(
      'x'.repeat(60),
      onSent(() => send('y')),
    );
    expect(send('z')).toBe(false);
    fake.isTaking = true;
    fake.take();
    await turn();
    expect(recorder.drains).toBe(1);
  });

  it('answers false for a refused package, and drains later', () => {
    const { fake, recorder, send, block } = setUp({ highWaterMarkBytes: 100 });
    block('x'.repeat(90));
    expect(send('y'.repeat(20))).toBe(false);
    fake.isTaking = true;
    fake.take();
    expect(recorder.drains).toBe(1);
  });

  it('drains at the low-water mark, while more waits', () => {
    const { fake, recorder, send, block } = setUp({ maxQueueBytes: 1_000_000, highWaterMarkBytes: 80_000, lowWaterMarkBytes: 10_000 });
    block('x'.repeat(1000));
    send('y'.repeat(70_000));
    expect(send('z'.repeat(20_000))).toBe(false);
    fake.take();
    expect(recorder.drains).toBe(0);
    fake.take();
    expect(recorder.drains).toBe(0);
    fake.take();
    expect(recorder.drains).toBe(1);
  });

  it('bounds the number of waiting packages, however small they are', () => {
    const { connection, send, block } = setUp({ maxQueueBytes: 640_000 });
    block('x');
    for (let sent = 0; sent < 10_000; sent++) send('');
    expect(connection.droppedPackages).toBe(0);
    for (let sent = 0; sent < 10; sent++) send('');
    expect(connection.droppedPackages).toBe(10);
    connection.limitSending({ ...LIMITS, maxQueueBytes: 0, overflowPolicy: 'drop-oldest' });
    connection.abort();
  });

  it('counts nothing as pending once it is aborted or closed', () => {
    for (const end of [(c: FakeConnection): void => c.abort(), (c: FakeConnection): void => c.finish()]) {
      const { fake, connection, send, block } = setUp();
      block('one');
      send('two');
      expect(connection.pendingBytes).toBe(6);
      end(fake);
      expect([connection.pendingBytes, connection.stalledBytes]).toEqual([0, 0]);
    }
  });

  it('survives a receipt that closes the connection while the oldest packages are dropped', () => {
    const { fake, connection, send, block } = setUp({ overflowPolicy: 'drop-oldest' });
    block('x'.repeat(50));
    const receipt = new ReceiptRecorder();
    const fatal = new ReceiptRecorder();
    fatal.onUnsent = () => connection.abort();
    send('y'.repeat(40), fatal);
    expect(send('z'.repeat(30), receipt)).toBe(false);
    expect(receipt.settled).toBe(1);
    expect(fake.calls).toEqual(['open', 'resume', 'abort']);
  });

  it('asks for open() before it can apply limits', () => {
    const fake = new FakeConnection();
    fake.isTaking = false;
    expect(() => fake.sendShared(Buffer.alloc(10))).toThrow(expect.objectContaining({ code: 'WRONG_STATE' }));
  });
});
