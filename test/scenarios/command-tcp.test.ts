import { expect, it, onTestFinished } from 'vitest';
import type { Option } from '../../src/base/option.ts';
import { CommandHandler, type CommandMessage } from '../../src/command/command-handler.ts';
import { commandOptions } from '../../src/command/endpoint-options.ts';
import { CommandHub } from '../../src/command/hub.ts';
import type { CommandHubOptions } from '../../src/command/hub-options.ts';
import { type TcpClientOptions, type TcpServerOptions, withLocalAddress, withTls } from '../../src/endpoint/options.ts';
import { TcpServer } from '../../src/endpoint/tcp.ts';
import { NativeClient } from '../command/native-client.ts';
import { hasOpenssl, makeCertificates } from '../helpers/certificates.ts';
import { RawPeer } from '../helpers/raw-peer.ts';
import { eventually } from '../helpers/session-recorder.ts';
import { tcpClient } from '../helpers/session-tcp.ts';

interface TcpScene {
  readonly hub: CommandHub;
  readonly server: TcpServer<CommandMessage>;
  client(): NativeClient;
}

async function listen(
  options: CommandHubOptions = {},
  address = '127.0.0.1:0',
  ofServer: readonly Option<TcpServerOptions<CommandMessage, CommandMessage>>[] = [],
  ofClient: readonly Option<TcpClientOptions<CommandMessage, CommandMessage>>[] = [],
): Promise<TcpScene> {
  const hub = new CommandHub(options);
  const server = new TcpServer<CommandMessage>(withLocalAddress(address), commandOptions(hub), ...ofServer);
  onTestFinished(async () => {
    await hub.close({ drainTimeoutMs: 0 });
    await server.close({ drainTimeoutMs: 0 });
  });
  await server.listen();
  const connect: NativeClient['world']['connect'] = (handler, listener) =>
    tcpClient(server as never, handler, listener, ...(ofClient as never[])).connect();
  return { hub, server, client: () => new NativeClient({ clock: { now: () => 0 }, connect }) };
}

/** Messages, calls, streams, rooms, and a cut that loses nothing. */
async function useAll({ hub, client }: TcpScene): Promise<void> {
  hub.on(1, (who, payload) => void who.send(2, payload));
  hub.handle(3, (_who, payload) => payload);
  hub.handle(4, async function* () {
    for (let n = 0; n < 3; n++) yield Buffer.from(String(n));
  });
  const [peer, other] = await Promise.all([client().open(), client().open()]);
  peer.send(1, 'hello');
  const [answer] = await peer.repliesTo(peer.call(3, 'x'.repeat(300_000)));
  expect([answer?.kind, answer?.text.length]).toEqual([0, 300_000]);
  expect((await peer.repliesTo(peer.call(4, '', 10), 4)).map(({ text }) => text)).toEqual(['0', '1', '2', '']);
  for (const one of hub.clients.values()) hub.room('a').join(one);
  expect(hub.room('a').broadcast(5, 'to all')).toEqual({ delivered: 2, kept: 0, dropped: 0 });
  await eventually(() => peer.heard.length === 2 && other.heard.length === 1, 'what was said');
  expect([peer.heard, other.heard]).toEqual([['2:hello', 'a/5:to all'], ['a/5:to all']]);
  peer.cut();
  await eventually(() => hub.stats().away === 1, 'the loss');
  for (let n = 0; n < 50; n++) hub.broadcast(6, String(n));
  await peer.open();
  await eventually(() => peer.heard.length === 52 && other.heard.length === 51, 'all that was missed');
  expect(peer.welcome?.recovered).toBe(true);
  expect(peer.heard.slice(2)).toEqual(Array.from({ length: 50 }, (_, n) => `6:${n}`));
}

it('the native profile over TCP: messages with their size in front, calls, streams, rooms, and resuming', async () => {
  await useAll(await listen());
});

it.runIf(hasOpenssl())('the native profile over TLS (where openssl is installed)', async () => {
  const { ca, server } = await makeCertificates();
  await useAll(await listen({}, undefined, [withTls({ cert: server.cert, key: server.key })], [withTls({ ca: ca.cert })]));
});

it('on a stream the size stands in front, byte for byte, however the bytes are cut', async () => {
  const { hub, server } = await listen({ streamProfile: 'knet' });
  hub.on(1, (client, payload) => void client.send(1, payload));
  const peer = await RawPeer.connect(server.localAddress);
  const message = Buffer.from('000000090000000168656c6c6f', 'hex');
  for (const byte of message) peer.socket.write(Buffer.of(byte));
  await eventually(() => peer.received.length === message.length, 'the echo');
  expect(peer.received).toEqual(message);
});

it('znet-knet scenario 27: on a stream a size that is too large ends the connection before the body', async () => {
  const { hub, server } = await listen({ streamProfile: 'knet', maxPayloadBytes: 1_000 });
  const peer = await RawPeer.connect(server.localAddress);
  await eventually(() => hub.clients.size === 1, 'the client');
  peer.socket.write(Buffer.from('000003ed00', 'hex'));
  await eventually(() => peer.hasEnded, 'the end');
  expect(hub.stats().handled).toBe(0);
});

it('znet-knet scenario 50: after a close a new hub and endpoint take the port at once, and clients come back to it', async () => {
  const first = await listen();
  const peer = await first.client().open();
  await first.hub.close();
  await first.server.close();
  await eventually(() => peer.closes.length === 1, 'the end');
  expect(peer.goodbyes).toMatchObject([{ status: 1001 }]);
  const second = await listen({}, first.server.localAddress.text);
  await peer.open();
  expect(peer.welcome?.recovered).toBe(false);
  expect(second.hub.stats()).toMatchObject({ clients: 1, unresumed: 1 });
});

it('the codec of a hub is that of its clients, with its limit', async () => {
  const { hub } = await listen({ maxPayloadBytes: 7 });
  expect(hub.codec).toBeInstanceOf(CommandHandler);
  expect(hub.codec.maxPayloadBytes).toBe(7);
});
