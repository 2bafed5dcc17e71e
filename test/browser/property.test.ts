import { describe, expect, it } from 'vitest';
import { statsOf } from '../../src/browser/stats.ts';
import { BrowserScene } from './browser-scene.ts';

/** The same numbers for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const runs = process.env['PORTICO_LONG'] === '1' ? 500 : 40;
const firstSeed = Number(process.env['PORTICO_SEED'] ?? 1);

describe('whatever the network does', () => {
  it('every message and every answer arrives once and in order, in both directions', async () => {
    for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
      const random = randomOf(seed);
      const scene = new BrowserScene();
      scene.net.latencyMs = 1 + Math.floor(random() * 20);
      const { client, dropped } = await scene.open({ random, buffer: { messages: 1_000 } });
      await scene.clock.advance(100);
      const [peer] = scene.hub.peers;
      if (peer === undefined) throw new Error(`seed ${seed}: no client`);
      scene.hub.onCall = (call) => scene.hub.reply(call, 0, call.payload);
      const seen: string[] = [];
      const answers: string[] = [];
      client.on(5, (payload) => seen.push(new TextDecoder().decode(payload)));
      const sent = { up: 0, down: 0, calls: 0 };
      for (let step = 0; step < 150; step++) {
        const dice = random();
        if (dice < 0.4) client.send(4, String(sent.up++));
        else if (dice < 0.7) scene.hub.text(5, String(sent.down++), peer);
        else if (dice < 0.8) {
          const body = String(sent.calls++);
          void client.call(6, body).then((answer) => answers.push(`${body}=${new TextDecoder().decode(answer)}`));
        } else if (dice < 0.86) scene.hub.cut(peer);
        else if (dice < 0.9) scene.net.onConnect = (socket) => (random() < 0.7 ? socket.refuse() : socket.accept());
        else scene.net.onConnect = (socket) => socket.accept();
        if (random() < 0.5) await scene.clock.advance(Math.floor(random() * 60));
      }
      scene.net.onConnect = (socket) => socket.accept();
      await scene.clock.advance(120_000);
      const numbers = (count: number): string[] => Array.from({ length: count }, (_, n) => String(n));
      expect(scene.hub.handled, `seed ${seed}`).toEqual(numbers(sent.up).map((n) => `4:${n}`));
      expect(seen, `seed ${seed}`).toEqual(numbers(sent.down));
      expect(answers.sort(), `seed ${seed}`).toEqual(
        numbers(sent.calls)
          .map((n) => `${n}=${n}`)
          .sort(),
      );
      expect([scene.hub.peers.length, dropped], `seed ${seed}`).toEqual([1, []]);
      expect(statsOf(client), `seed ${seed}`).toMatchObject({ openCalls: 0, waiting: 0 });
    }
  });
});
