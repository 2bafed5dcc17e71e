import { describe, expect, it } from 'vitest';
import type { Datagram, DatagramTo } from '../../src/codec/datagram.ts';
import { LineHandler } from '../../src/codec/line.ts';
import { RawHandler } from '../../src/codec/raw.ts';
import { withLocalAddress } from '../../src/endpoint/options.ts';
import { UdpEndpoint } from '../../src/endpoint/udp.ts';
import { withEventListener, withMaxPackageBytes, withPkgHandler } from '../../src/session/options.ts';
import { closeLater, rejection } from '../helpers/endpoint-fixtures.ts';
import { eventually, Recorder, settle } from '../helpers/session-recorder.ts';
import { echo, UdpPeer, udpClient, udpEndpoint } from '../helpers/udp-scene.ts';

type Lines = Recorder<Datagram<string>, DatagramTo<string>>;

async function oneSession(listener: Lines): Promise<UdpEndpoint<Datagram<string>, DatagramTo<string>>> {
  const endpoint = closeLater(
    UdpEndpoint.oneSession<string>(withLocalAddress('127.0.0.1:0'), withPkgHandler(new LineHandler()), withEventListener(listener)),
  );
  return endpoint.listen();
}

describe('UDP, as in getty', () => {
  it('44. an endpoint echoes to three peers: each gets its own reply, and the address is right', async () => {
    const heard = new Recorder<Buffer, Uint8Array>(echo);
    const endpoint = await udpEndpoint(heard);
    const peers = [await UdpPeer.bind(), await UdpPeer.bind(), await UdpPeer.bind()];
    for (const round of [1, 2])
      for (const [index, peer] of peers.entries()) await peer.send(`${index}.${round}`, endpoint.localAddress.port);
    for (const [index, peer] of peers.entries()) {
      await peer.until(2);
      expect(peer.texts).toEqual([`${index}.1`, `${index}.2`]);
    }
    expect(heard.sessions.map(({ remoteAddress }) => remoteAddress.text)).toEqual(peers.map(({ port }) => `127.0.0.1:${port}`));
    expect(endpoint.sessions.size).toBe(3);
  });

  it('44. the same with one session for all peers, whose packages carry the peer', async () => {
    const heard: Lines = new Recorder({
      onMessage(session, { pkg, peer }) {
        session.send({ pkg: pkg.toUpperCase(), peer });
      },
    });
    const endpoint = await oneSession(heard);
    const peers = [await UdpPeer.bind(), await UdpPeer.bind(), await UdpPeer.bind()];
    for (const [index, peer] of peers.entries()) await peer.send(`a${index}\nb${index}\n`, endpoint.localAddress.port);
    for (const [index, peer] of peers.entries()) {
      await peer.until(2);
      expect(peer.texts).toEqual([`A${index}\n`, `B${index}\n`]);
    }
    expect(heard.packages.map(({ peer }) => peer.text)).toEqual(peers.flatMap(({ port }) => Array(2).fill(`127.0.0.1:${port}`)));
    expect(endpoint.sessions.size).toBe(1);
    const [session] = heard.sessions;
    // The peer that travels with a package inside the process is not counted.
    expect(session?.stats()).toMatchObject({ bytesRead: 18, bytesWritten: 18, packagesRead: 6, packagesWritten: 6, writes: 6 });
  });

  it('45. one session refuses a package without a peer, NO_PEER, and a connected client needs none', async () => {
    const heard: Lines = new Recorder();
    const endpoint = await oneSession(heard);
    const session = await heard.session();
    const bad = [undefined, null, {}, { host: 'localhost', port: 1 }, { host: '127.0.0.1', port: 0 }, { host: '127.0.0.1', port: 65_536 }];
    for (const peer of bad) {
      const datagram = { pkg: 'x', peer } as DatagramTo<string>;
      expect(() => session.send(datagram)).toThrow(expect.objectContaining({ code: 'NO_PEER' }));
      expect(await rejection(session.writePkg(datagram))).toMatchObject({ code: 'NO_PEER' });
    }
    expect(await rejection(session.writeBytes(Buffer.from('x')))).toMatchObject({ code: 'NO_PEER' });
    expect(session.isClosed).toBe(false);
    const peer = await UdpPeer.bind();
    session.send({ pkg: 'to anybody', peer: { host: '127.0.0.1', port: peer.port } });
    await peer.until(1);
    expect(peer.texts).toEqual(['to anybody\n']);
    const client = await udpClient(endpoint.localAddress.text, new Recorder()).connect();
    client.send(Buffer.from('from a client\n'));
    await heard.until('message');
    expect(heard.packages[0]).toMatchObject({ pkg: 'from a client', peer: { port: client.localAddress.port } });
  });

  it('46. a datagram above maxPackageBytes is reported and not delivered, and the session lives', async () => {
    const heard = new Recorder<Buffer, Uint8Array>(echo);
    const endpoint = await udpEndpoint(heard, withMaxPackageBytes(100));
    const peer = await UdpPeer.bind();
    await peer.send(Buffer.alloc(101), endpoint.localAddress.port);
    await peer.send(Buffer.alloc(100, 7), endpoint.localAddress.port);
    await peer.until(1);
    expect(heard.errors).toMatchObject([{ name: 'PeerError', code: 'PACKAGE_TOO_LARGE', recoverable: true }]);
    expect(heard.packages.map(({ length }) => length)).toEqual([100]);
    expect(heard.count('close')).toBe(0);
  });

  it('47. a datagram "connect-ping" is one as any other', async () => {
    const endpoint = await udpEndpoint(echo);
    const heard = new Recorder<Buffer, Uint8Array>();
    const session = await udpClient(endpoint.localAddress.text, heard).connect();
    session.send(Buffer.from('connect-ping'));
    await heard.until('message');
    expect(String(heard.packages[0])).toBe('connect-ping');
  });

  it('48. the first reply is delivered, and connecting waits for nothing', async () => {
    const peer = await UdpPeer.bind();
    peer.socket.on('message', (_bytes, { port }) => void peer.send('at once', port));
    const heard = new Recorder<Buffer, Uint8Array>();
    const client = udpClient(`127.0.0.1:${peer.port}`, heard);
    const session = await client.connect((opening) => void expect(opening.state).toBe('opening'));
    expect(peer.received).toEqual([]);
    session.send(Buffer.from('x'));
    await heard.until('message');
    expect(String(heard.packages[0])).toBe('at once');
  });

  it('49. closing gives onClose and no onError, on both sides, and nothing is sent', async () => {
    const served = new Recorder<Buffer, Uint8Array>(echo);
    const endpoint = await udpEndpoint(served);
    const peer = await UdpPeer.bind();
    const heard = new Recorder<Buffer, Uint8Array>();
    const client = udpClient(endpoint.localAddress.text, heard);
    const session = await client.connect();
    session.send(Buffer.from('x'));
    await heard.until('message');
    await peer.send('y', endpoint.localAddress.port);
    await peer.until(1);
    for (const open of served.sessions) await open.close();
    await session.close();
    await served.until('close', 2);
    await heard.until('close');
    await settle();
    expect(peer.texts).toEqual(['y']);
    expect([...served.errors, ...heard.errors]).toEqual([]);
    expect(served.reasons.map(({ code, by }) => [code, by])).toEqual([
      ['NORMAL', 'local'],
      ['NORMAL', 'local'],
    ]);
  });

  it('50. what is given to send is not changed', async () => {
    const heard: Lines = new Recorder();
    await oneSession(heard);
    const session = await heard.session();
    const peer = await UdpPeer.bind();
    const datagram = Object.freeze({ pkg: 'frozen', peer: Object.freeze({ host: '127.0.0.1', port: peer.port }) });
    session.send(datagram);
    await session.writePkg(datagram);
    await peer.until(2);
    expect(datagram).toEqual({ pkg: 'frozen', peer: { host: '127.0.0.1', port: peer.port } });
  });

  it('6. newSession that throws drops the peer, and the next ones are served', async () => {
    const heard = new Recorder<Buffer, Uint8Array>(echo);
    const endpoint = closeLater(
      new UdpEndpoint<Buffer, Uint8Array>(withLocalAddress('127.0.0.1:0'), withPkgHandler(new RawHandler()), withEventListener(heard)),
    );
    let calls = 0;
    await endpoint.listen(() => {
      if (++calls === 1) throw new Error('a test');
    });
    const peer = await UdpPeer.bind();
    const closed: unknown[] = [];
    endpoint.on('sessionClosed', (_session, reason) => closed.push(reason.error?.code));
    await peer.send('1', endpoint.localAddress.port);
    await eventually(() => closed.length === 1, 'the first session is over');
    await peer.send('2', endpoint.localAddress.port);
    await peer.until(1);
    expect(peer.texts).toEqual(['2']);
    expect(closed).toEqual(['LISTENER_FAILED']);
  });
});
