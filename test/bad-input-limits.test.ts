import { BlockList, connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { ConfigError } from '../src/base/errors.ts';
import { after, wheelOf } from '../src/base/wheel.ts';
import { LengthFieldHandler, type LengthFieldOptions } from '../src/codec/length-field.ts';
import { Admission } from '../src/endpoint/admission.ts';
import { withAcceptRate, withBlockList, withLocalAddress, withMaxSessionsPerIp } from '../src/endpoint/options.ts';
import {
  withCronPeriodMs,
  withDrainTimeoutMs,
  withHeartbeat,
  withIdleTimeoutMs,
  withReadTimeoutMs,
  withSessionName,
  withWriteTimeoutMs,
} from '../src/session/options.ts';
import { VirtualClock } from '../src/testing/virtual-clock.ts';
import { tcpAddress, unixAddress } from '../src/transport/address.ts';
import { Attack } from './helpers/attack.ts';
import { frame, RawPeer, until } from './helpers/raw-peer.ts';
import { useScene } from './helpers/scene.ts';
import { thrownBy } from './helpers/thrown.ts';

const scene = useScene();
describe('13 connections that come in a storm', () => {
  it('13 are let in at the accept rate and refused above it, while others are served', async () => {
    const attack = await Attack.begin(scene, { options: [withAcceptRate(50, 100)] });
    const storm = async (): Promise<void> => {
      // Who is refused may find the connection reset before it knew that it had one.
      const peer = await RawPeer.connect(attack.echo.address).catch(() => undefined);
      peer?.destroy();
    };
    for (let count = 0; count < 400; count += 50) {
      await Promise.all(Array.from({ length: 50 }, storm));
      await attack.honest();
    }
    const { echo, watch } = attack;
    await until(() => echo.refused.length === 301, 'the refusals');
    expect(new Set(echo.refused)).toEqual(new Set(['accept-rate']));
    await until(() => watch.reasons.length === 99, 'the sessions let in to be gone');
    await attack.pass(1000);
    const later = await attack.offender();
    later.pour(frame('a second later'));
    expect(await later.receive(18)).toEqual(frame('a second later'));
    expect(echo.server.stats()).toMatchObject({ openSessions: 2, totalSessions: 101, refusedConnections: 301 });
    await attack.honest();
  });
});

describe('13 a connection that is reset before it is looked at', () => {
  it('13 passes by no limit: it is refused, and becomes no session', async () => {
    const attack = await Attack.begin(scene, { options: [withAcceptRate(1, 3), withMaxSessionsPerIp(2)] });
    // Many at once, so that the server finds most of them gone when it gets to look at them.
    const storm = (): Promise<void> =>
      new Promise((resolve) => {
        const peer = connect({ port: attack.echo.address.port, host: '127.0.0.1' });
        peer.on('error', () => {});
        peer.once('close', () => resolve());
        peer.once('connect', () => peer.resetAndDestroy());
      });
    await Promise.all(Array.from({ length: 50 }, storm));
    const { server, refused, watch } = attack.echo;
    await until(() => refused.length + server.stats().totalSessions >= 51, 'all to be looked at');
    expect(watch.opened.length).toBeLessThanOrEqual(3);
    expect(server.stats().totalSessions).toBeLessThanOrEqual(3);
    expect(refused.length).toBeGreaterThanOrEqual(48);
    expect(refused.every((why) => why === 'gone' || why === 'accept-rate' || why === 'max-sessions-per-ip')).toBe(true);
    await attack.honest();
  });
});

describe('15 a length field that cannot be', () => {
  it.each<[string, LengthFieldOptions]>([
    ...[0, 5, 6, 7, 9, -1, 1.5, Number.NaN].map((size): [string, LengthFieldOptions] => [
      `of ${size} bytes`,
      { lengthFieldBytes: size as 4 },
    ]),
    ['of "4" bytes', { lengthFieldBytes: '4' as unknown as 4 }],
    ['at -1', { lengthFieldOffset: -1 }],
    ['at 0.5', { lengthFieldOffset: 0.5 }],
    ['behind the largest frame', { lengthFieldOffset: 1_048_576 }],
    ['that fills more than the frame', { maxFrameBytes: 3 }],
    ['with an adjustment below all that it can say', { lengthFieldBytes: 1, lengthAdjustment: -256 }],
    ['with an adjustment above the largest frame', { lengthAdjustment: 1_048_577 }],
    ['with an adjustment of 0.5', { lengthAdjustment: 0.5 }],
    ['with an adjustment that is no number', { lengthAdjustment: Number.NaN }],
    ['with more to strip than there is', { initialBytesToStrip: 5 }],
    ['with -1 to strip', { initialBytesToStrip: -1 }],
    ...[0, -1, 2 ** 31, 1.5, Number.POSITIVE_INFINITY].map((max): [string, LengthFieldOptions] => [
      `and a largest frame of ${max}`,
      { maxFrameBytes: max },
    ]),
    ['and an unknown policy', { tooLong: 'ignore' as 'skip' }],
    ['and a byte order that is none', { littleEndian: 'yes' as unknown as boolean }],
  ])('15 %s: ConfigError where it is made', (_what, options) => {
    const error = thrownBy(() => new LengthFieldHandler(options));
    expect(error).toBeInstanceOf(ConfigError);
    expect(String(error)).toMatch(/^ConfigError: LengthFieldHandler\.\w+: expected .+, given .+/);
  });

  it('15 three bytes, and a negative adjustment that leaves a frame, can be', () => {
    expect(() => new LengthFieldHandler({ lengthFieldBytes: 3, lengthAdjustment: -3 })).not.toThrow();
  });
});

describe('109 limits per address', () => {
  const admission = (maxSessionsPerIp: number): Admission =>
    new Admission({ maxSessions: 1000, maxSessionsPerIp, blockList: undefined, acceptRate: undefined });

  it.each<[string, string[], string[]]>([
    ['addresses of one IPv6 /64 count as one', ['2001:db8:0:1::1', '2001:db8::1:ffff:0:0:2', '2001:DB8:0:1:a:b:c:d'], ['2001:db8:0:2::1']],
    [
      'an IPv4 address written as IPv6 counts as IPv4',
      ['::ffff:192.0.2.1', '192.0.2.1', '::FFFF:192.0.2.1'],
      ['192.0.2.2', '::ffff:192.0.2.3'],
    ],
    ['a zone is left out', ['fe80::1%eth0', 'fe80::2%eth1', 'fe80::3'], ['fe80:0:0:1::1']],
    ['the unspecified half of an address is zeros', ['::1', '0:0:0:0::2', '::3'], ['1::1']],
  ])('109 %s', (_what, same, others) => {
    const limits = admission(2);
    const outcomes = same.map((host) => limits.admit(tcpAddress(host, 1), 0));
    expect(outcomes).toEqual([undefined, undefined, 'max-sessions-per-ip']);
    expect(others.map((host) => limits.admit(tcpAddress(host, 1), 0))).toEqual(others.map(() => undefined));
    limits.release(tcpAddress(same[1] ?? '', 2));
    expect(limits.admit(tcpAddress(same[2] ?? '', 1), 0)).toBeUndefined();
  });

  it('109 Unix sockets, which have no address, share no limit', () => {
    const limits = admission(1);
    for (let count = 0; count < 5; count++) expect(limits.admit(unixAddress('/run/a.sock'), 0)).toBeUndefined();
    expect(limits.count).toBe(5);
  });

  it('109 an IP address that is not known any more is refused', () => {
    const limits = admission(0);
    expect(limits.admit(tcpAddress(undefined, undefined), 0)).toBe('gone');
    expect([limits.count, limits.refused]).toEqual([0, 1]);
  });

  it("109 a host that is no IP address, as of a network of one's own, passes a block list", () => {
    const blockList = new BlockList();
    blockList.addSubnet('0.0.0.0', 0, 'ipv4');
    const limits = new Admission({ maxSessions: 1, maxSessionsPerIp: 1, blockList, acceptRate: undefined });
    const address = { text: 'client-1:1', host: 'client-1', port: 1, family: 'memory' } as const;
    expect(limits.admit(address, 0)).toBeUndefined();
    limits.release(address);
    expect(limits.count).toBe(0);
  });

  it('109 on a server for both families: one bucket for IPv4, however it comes, and the block list sees it', async () => {
    const echo = await scene.server(withLocalAddress(':0'), withMaxSessionsPerIp(2), withBlockList(['127.0.0.9', '10.0.0.0/8']));
    const { port } = echo.address;
    const peers = [await scene.peer({ port }), await scene.peer({ port }), await scene.peer({ port })];
    await peers[2]?.closed();
    expect(echo.refused).toEqual(['max-sessions-per-ip']);
    if (process.platform === 'linux') {
      const blocked = await scene.peer({ port }, { localAddress: '127.0.0.9' });
      await blocked.closed();
      await scene.peer({ port }, { localAddress: '127.0.0.2' });
      expect(echo.refused).toEqual(['max-sessions-per-ip', 'blocked']);
    }
    peers[0]?.destroy();
    await echo.watch.closes(1);
    await until(() => echo.server.sessions.size < 3, 'the session to be forgotten');
    const next = await scene.peer({ port });
    await next.send(frame('room'));
    expect(await next.receive(8)).toEqual(frame('room'));
  });
});

describe('110 the memory of the accept rate', () => {
  it('110 holds a hundred thousand addresses, and forgets the one seen longest ago', () => {
    const limits = new Admission({
      maxSessions: 1_000_000,
      maxSessionsPerIp: 0,
      blockList: undefined,
      acceptRate: { perSecond: 1, burst: 1 },
    });
    const address = (index: number) => tcpAddress(`10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`, 1);
    expect(limits.admit(address(0), 0)).toBeUndefined();
    expect(limits.admit(address(0), 0)).toBe('accept-rate');
    for (let index = 1; index < 100_000; index++) limits.admit(address(index), 0);
    // Seen just now, so that the next one is the oldest.
    expect(limits.admit(address(0), 0)).toBe('accept-rate');
    limits.admit(address(100_000), 0);
    expect(limits.admit(address(2), 0)).toBe('accept-rate');
    expect(limits.admit(address(0), 0)).toBe('accept-rate');
    expect(limits.admit(address(1), 0)).toBeUndefined();
  });
});

describe('112 periods and timers', () => {
  const setters: [string, (value: number) => unknown, zeroIsOff: boolean][] = [
    ['cronPeriodMs', withCronPeriodMs, false],
    ['heartbeat intervalMs', (value) => withHeartbeat({ intervalMs: value, timeoutMs: 1000 }), false],
    ['heartbeat timeoutMs', (value) => withHeartbeat({ intervalMs: 1, timeoutMs: value }), false],
    ['readTimeoutMs', withReadTimeoutMs, true],
    ['writeTimeoutMs', withWriteTimeoutMs, true],
    ['idleTimeoutMs', withIdleTimeoutMs, true],
    ['drainTimeoutMs', withDrainTimeoutMs, true],
  ];

  it.each(setters)('112 %s: 0 is off or refused; -1, 2^31, fractions and no numbers are refused', (_name, set, zeroIsOff) => {
    for (const value of [-1, 2 ** 31, 0.5, Number.NaN, Number.POSITIVE_INFINITY, '5' as unknown as number]) {
      expect(
        thrownBy(() => set(value)),
        String(value),
      ).toBeInstanceOf(ConfigError);
    }
    if (zeroIsOff) expect(() => set(0)).not.toThrow();
    else expect(thrownBy(() => set(0))).toBeInstanceOf(ConfigError);
  });

  it('112 a hundred thousand timers due at once run in slices, and may cancel each other', async () => {
    let yields = 0;
    const clock = new (class extends VirtualClock {
      override yield(callback: () => void): void {
        yields++;
        super.yield(callback);
      }
    })();
    const wheel = wheelOf(clock);
    let fired = 0;
    const cancels: (() => void)[] = [];
    for (let index = 0; index < 100_000; index++) {
      const cancel = after(wheel, 50, () => {
        fired++;
        clock.block(0.001);
        // Its own, which does nothing, and that of a later one.
        cancels[index]?.();
        if (index % 1000 === 0) cancels[index + 1]?.();
      });
      cancels.push(cancel);
    }
    await clock.advance(60);
    expect(fired).toBe(99_900);
    // 100 ms of work, in slices of 5 ms.
    expect(yields).toBeGreaterThanOrEqual(15);
    expect(clock.pendingTimers).toBe(0);
  });
});

describe('113 a broadcast during which sessions close', () => {
  it('113 reaches each of the others once', async () => {
    const echo = await scene.server();
    const peers = await Promise.all(Array.from({ length: 12 }, () => scene.peer(echo)));
    const sessions = [...(await echo.watch.sessions(12))];
    const asked: number[] = [];
    const result = echo.server.broadcast(Buffer.from('to all'), (session) => {
      asked.push(session.id);
      if (asked.length === 3) {
        // One that is served already, itself, and one whose turn has not come.
        for (const index of [0, 2, 7]) sessions[index]?.destroy();
      }
      return true;
    });
    expect(result).toEqual({ sent: 10, full: 0, refused: 1 });
    expect(asked).toEqual(sessions.filter((_, index) => index !== 7).map(({ id }) => id));
    expect(echo.server.broadcast(Buffer.from('again'))).toEqual({ sent: 9, full: 0, refused: 0 });
    await until(() => peers.filter((peer) => peer.length >= 19).length === 9, 'both packages');
    for (const peer of peers.filter(({ length }) => length >= 19))
      expect(peer.received).toEqual(Buffer.concat([frame('to all'), frame('again')]));
  });
});

describe('114 names that come from peers', () => {
  const names = ['__proto__', 'constructor', 'toString', '', '\ud800', '\udfff\ud800', 'x'.repeat(1_048_576), 'a\nb'];

  it('114 are only keys for attributes', async () => {
    const echo = await scene.server();
    const { session } = await scene.client(echo);
    for (const [index, name] of names.entries()) session.attributes.set(name, index);
    expect(names.map((name) => session.attributes.get(name))).toEqual(names.map((_, index) => index));
    expect(session.attributes.size).toBe(names.length);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    expect(Object.getPrototypeOf(session.attributes)).not.toBe(0);
  });

  it.each(names)('114 %# are names of sessions if they are 1 to 256 bytes, and are shown on one line', async (name) => {
    if (name === '' || name.length > 256) {
      expect(thrownBy(() => withSessionName(name))).toBeInstanceOf(ConfigError);
      return;
    }
    const echo = await scene.server(withSessionName(name));
    await scene.peer(echo);
    const session = await echo.watch.session();
    expect(session.name).toBe(name);
    expect(String(session)).not.toMatch(/[\p{Cc}\p{Cs}]/u);
  });

  it('114 of 257 bytes are refused, counted as UTF-8', () => {
    expect(() => withSessionName('ä'.repeat(128))).not.toThrow();
    expect(thrownBy(() => withSessionName(`${'ä'.repeat(128)}x`))).toBeInstanceOf(ConfigError);
  });
});
