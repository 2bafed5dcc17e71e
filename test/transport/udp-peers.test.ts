import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type PeerNode, UdpPeers } from '../../src/transport/udp-peers.ts';

class Peer implements PeerNode<Peer> {
  isListed = false;
  older: Peer | undefined = undefined;
  newer: Peer | undefined = undefined;
  readonly host: string;
  readonly port: number;

  constructor(host: string, port: number) {
    this.host = host;
    this.port = port;
  }
}

const call = fc.record({
  what: fc.constantFrom('add', 'remove', 'touch', 'find'),
  host: fc.constantFrom('10.0.0.1', '10.0.0.2', '::1'),
  port: fc.integer({ min: 1, max: 4 }),
});

it('finds peers and knows who was used longest ago, as a plain list does', () => {
  fc.assert(
    fc.property(fc.array(call, { maxLength: 200 }), (calls) => {
      const table = new UdpPeers<Peer>();
      /** Oldest first. */
      let model: Peer[] = [];
      const known = (host: string, port: number): Peer | undefined => model.find((peer) => peer.host === host && peer.port === port);
      for (const { what, host, port } of calls) {
        const peer = known(host, port);
        // A fresh string, as the system gives.
        expect(table.find(host.split('').join(''), port)).toBe(peer);
        if (what === 'add' && peer === undefined) {
          const added = new Peer(host, port);
          model.push(added);
          table.add(added);
        } else if (what === 'remove' && peer !== undefined) {
          model = model.filter((other) => other !== peer);
          expect(table.remove(peer)).toBe(true);
          expect(table.remove(peer)).toBe(false);
          table.touch(peer);
        } else if (what === 'touch' && peer !== undefined) {
          model = [...model.filter((other) => other !== peer), peer];
          table.touch(peer);
        }
        expect(table.size).toBe(model.length);
        expect(table.oldest).toBe(model[0]);
      }
      for (const peer of model) {
        expect(table.oldest).toBe(peer);
        table.remove(peer);
      }
      expect([table.size, table.oldest]).toEqual([0, undefined]);
    }),
  );
});
