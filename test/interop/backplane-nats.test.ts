import { connect } from '@nats-io/transport-node';
import { expect, onTestFinished } from 'vitest';
import { subjectOf } from '../../src/backplane-nats/nats-link.ts';
import { newPrefix } from '../helpers/backplane-server.ts';
import { arrives, serverCases } from '../helpers/backplane-server-cases.ts';
import { until } from '../helpers/raw-peer.ts';

serverCases('nats', ({ server, open }, it) => {
  it('counts junk on its subjects, tells of it once, and goes on', async () => {
    const prefix = newPrefix();
    const [first, second] = [await open(prefix), await open(prefix)];
    second.backplane.subscribe('news');
    await arrives(first, second, 'before');
    const nats = await connect({ servers: `127.0.0.1:${server().place}` });
    onTestFinished(() => nats.close());
    for (const junk of ['', 'junk', '\u00b7', '{"a":1}', 'x'.repeat(100_000)]) {
      for (const topic of ['n', `n.${second.backplane.nodeId}`, 'c.news']) nats.publish(subjectOf(prefix, topic), junk);
    }
    await until(() => second.backplane.stats().malformed === 15, 'the junk');
    expect(second.errors.map(({ code }) => code)).toEqual(['PROTOCOL_VIOLATION']);
    await arrives(first, second, 'after');
  });

  it('drops a message that the server would not take, tells of it, and stays connected', async () => {
    const prefix = newPrefix();
    const [first, second] = [await open(prefix, { maxMessageBytes: 3_000_000 }), await open(prefix)];
    second.backplane.subscribe('news');
    await arrives(first, second, 'before');
    first.backplane.publish('news', Buffer.alloc(2_000_000));
    expect(first.errors.map(({ code }) => code)).toEqual(['BACKPLANE_FAILED']);
    expect(first.errors[0]?.message).toMatch(/max_payload/);
    await arrives(first, second, 'after');
    expect(second.gaps).toMatchObject([{ reason: 'missing', count: 1, channel: 'news' }]);
  });
});
