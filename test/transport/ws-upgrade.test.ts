import { describe, expect, it } from 'vitest';
import type { PorticoError, TransportError } from '../../src/base/errors.ts';
import { withClock, withConnectTimeoutMs, withHandshakeTimeoutMs, withUpgrade } from '../../src/endpoint/options.ts';
import { WIDE_LIMITS } from '../../src/testing/connection-recorder.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { BaseConnection } from '../../src/transport/base-connection.ts';
import type { Address, CloseNotice, Connection } from '../../src/transport/connection.ts';
import type { Upgrade } from '../../src/transport/transport.ts';
import { WS_REQUEST } from '../../src/transport/ws-settings.ts';
import { until } from '../helpers/raw-peer.ts';
import { rejectionOf } from '../helpers/thrown.ts';
import { OPCODE, wsFrame } from '../helpers/ws-peer.ts';
import { useWsScene } from '../helpers/ws-scene.ts';

const ws = useWsScene();

/** A layer that exclusive-ors every message with a key, and keeps messages apart. */
class MessageLayer extends BaseConnection {
  readonly kind = 'message';
  readonly tls = undefined;
  readonly readPath = 'chunk';
  readonly raw: Connection;
  readonly localAddress: Address;
  readonly remoteAddress: Address;
  readonly #key: number;
  #notice: CloseNotice | undefined;

  constructor(lower: Connection, key: number) {
    super();
    this.raw = lower;
    this.#key = key;
    this.localAddress = lower.localAddress;
    this.remoteAddress = lower.remoteAddress;
  }

  override get attributes(): Connection['attributes'] {
    return this.raw.attributes;
  }

  override close(notice?: CloseNotice): void {
    this.#notice ??= notice;
    super.close(notice);
  }

  protected sendOpen(): void {
    this.raw.open(
      {
        onBytes: (bytes, isText) => this.onBytes(this.#crypt(bytes), isText),
        onEnd: (ending) => this.onEnd(ending),
        onClose: (error: PorticoError | undefined) => this.onClosed(error),
        onDrain() {},
        onBlocked() {},
        onFinished() {},
        onOverflow() {},
      },
      WIDE_LIMITS,
    );
  }

  protected sendBatch(chunks: readonly Uint8Array[], isText: boolean): void {
    this.raw.sendShared(this.#crypt(Buffer.concat(chunks)), undefined, isText);
  }

  protected unsentBytes(): number {
    return 0;
  }

  protected sendPause(): void {
    this.raw.pause();
  }

  protected sendResume(): void {
    this.raw.resume();
  }

  protected sendEnd(): void {}

  protected sendClose(): void {
    this.raw.close(this.#notice);
  }

  protected sendAbort(error: TransportError | undefined): void {
    this.raw.abort(error);
  }

  #crypt(bytes: Buffer): Buffer {
    return Buffer.from(bytes.map((byte) => byte ^ this.#key));
  }
}

const layer =
  (key: number): Upgrade =>
  async (connection) =>
    new MessageLayer(connection, key);
const never: Upgrade = () => new Promise(() => {});

describe('withUpgrade over WebSocket', () => {
  it('puts layers of messages around each connection, in order, on both sides', async () => {
    const keys: number[] = [];
    const seen =
      (key: number): Upgrade =>
      async (connection, options) => {
        keys.push(key);
        expect([connection.kind, connection.attributes?.get(WS_REQUEST)?.path]).toEqual(['message', '/']);
        return layer(key)(connection, options);
      };
    const echo = await ws.server(withUpgrade(seen(0x55), seen(0x0f)));
    const { session, watch } = await ws.client(echo.url, withUpgrade(layer(0x55), layer(0x0f)));
    const messages = ['one', '', 'three'].map((text) => Buffer.from(text));
    await session.writeBytesArray(messages);
    expect(await watch.textsIn(3)).toEqual(['one', '', 'three']);
    expect(echo.watch.texts).toEqual(['one', '', 'three']);
    expect(keys).toEqual([0x55, 0x0f]);
    expect((await echo.watch.session()).attributes.get(WS_REQUEST)?.path).toBe('/');
    // What is on the wire is not what was sent.
    const peer = await ws.peer(echo);
    peer.pour(wsFrame(OPCODE.BINARY, Buffer.from('one')));
    expect((await echo.watch.packagesIn(4)).at(-1)).toEqual(Buffer.from('one').map((byte) => byte ^ 0x5a));
  });

  it('lets the status and the reason of a close through', async () => {
    const echo = await ws.server(withUpgrade(layer(1)));
    const { session } = await ws.client(echo.url, withUpgrade(layer(1)));
    await echo.watch.session();
    await session.close({ status: 4001, reason: 'enough' });
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'PEER_CLOSED', status: 4001, text: 'enough' }]);
  });

  it('that fails: HANDSHAKE_FAILED on either side, no event of a session, and the connection is gone', async () => {
    const fails: Upgrade = () => Promise.reject(new TypeError('no'));
    const echo = await ws.server(withUpgrade(fails));
    const { session } = await ws.client(echo.url);
    await until(() => echo.lost.length === 1, 'the loss');
    expect(echo.lost).toMatchObject([{ code: 'HANDSHAKE_FAILED', cause: { message: 'no' } }]);
    await session.closed;
    expect(echo.watch.opened).toEqual([]);
    const plain = await ws.server();
    const { client } = ws.newClient(plain.url, withUpgrade(fails));
    expect(await rejectionOf(client.connect())).toMatchObject({ cause: { code: 'HANDSHAKE_FAILED' } });
  });

  it('that is late: HANDSHAKE_TIMEOUT on the server, CONNECT_TIMEOUT on the client', async () => {
    const clock = new VirtualClock();
    const echo = await ws.server(withClock(clock), withHandshakeTimeoutMs(500), withUpgrade(never));
    const { session } = await ws.client(echo.url);
    await clock.advance(1_000);
    expect(echo.lost).toMatchObject([{ code: 'HANDSHAKE_TIMEOUT' }]);
    await session.closed;
    const plain = await ws.server();
    const clientClock = new VirtualClock();
    let isAsked = false;
    const asked: Upgrade = (...given) => {
      isAsked = true;
      return never(...given);
    };
    const { client } = ws.newClient(plain.url, withClock(clientClock), withConnectTimeoutMs(500), withUpgrade(asked));
    const failed = rejectionOf(client.connect());
    await until(() => isAsked, 'the upgrade to begin');
    await clientClock.advance(600);
    expect(await failed).toMatchObject({ cause: { code: 'CONNECT_TIMEOUT' } });
  });
});
