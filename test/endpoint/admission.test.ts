import { BlockList } from 'node:net';
import { describe, expect, it } from 'vitest';
import { ipGroup, plainIp } from '../../src/base/ip-group.ts';
import { Admission, type AdmissionLimits } from '../../src/endpoint/admission.ts';
import { openFileLimit, SessionRoom } from '../../src/endpoint/open-files.ts';
import { withBlockList } from '../../src/endpoint/options.ts';
import type { Address } from '../../src/transport/connection.ts';

const unlimited: AdmissionLimits = {
  maxSessions: Number.MAX_SAFE_INTEGER,
  maxSessionsPerIp: 0,
  blockList: undefined,
  acceptRate: undefined,
};

function from(host: string): Address {
  return { text: `${host}:1`, host, port: 1, family: host.includes(':') ? 'IPv6' : 'IPv4' };
}

const unixPeer: Address = { text: 'unix:/run/app.sock', host: '', port: 0, family: 'unix', path: '/run/app.sock' };

function admission(limits: Partial<AdmissionLimits>): Admission {
  return new Admission({ ...unlimited, ...limits });
}

it('shares one room among the servers without a limit of their own, so that together they leave files for the rest', () => {
  const room = new SessionRoom(3);
  const [one, other] = [0, 1].map(() => new Admission({ ...unlimited, maxSessions: undefined }, room));
  const own = new Admission({ ...unlimited, maxSessions: 1 }, room);
  const address = from('192.0.2.1');
  expect([one?.admit(address, 0), one?.admit(address, 0), other?.admit(address, 0)]).toEqual([undefined, undefined, undefined]);
  expect([one?.admit(address, 0), other?.admit(address, 0), own.admit(address, 0)]).toEqual(['max-sessions', 'max-sessions', undefined]);
  one?.release(address);
  own.release(address);
  expect([other?.admit(address, 0), one?.admit(address, 0), room.used]).toEqual([undefined, 'max-sessions', 3]);
});

it('has room for a share of the open-file limit', () => {
  const room = new SessionRoom();
  room.used = Math.floor(openFileLimit() * 0.7) - 1;
  expect(room.isFull).toBe(false);
  room.used++;
  expect(room.isFull).toBe(true);
});

function blocking(...networks: string[]): BlockList | undefined {
  const options: { blockList: BlockList | undefined } = { blockList: undefined };
  withBlockList(networks)(options);
  return options.blockList;
}

describe('ipGroup', () => {
  it.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['::FFFF:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:0002:ffff::1', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:db8:0:0:1::', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['1::2:3:4:5:6:7', '1:0:2:3::/64'],
    ['64:ff9b::192.0.2.7', '64:ff9b:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['fe80::2%25en1', 'fe80:0:0:0::/64'],
    ['', ''],
  ])('takes %s for %s', (host, group) => {
    expect(ipGroup(host)).toBe(group);
  });

  it('needs the zone and the IPv6 clothes for nothing', () => {
    expect(['fe80::1%eth0', '::ffff:10.0.0.1', '::ffff:10.0.0.1%2', '10.0.0.1', '::1'].map(plainIp)).toEqual([
      'fe80::1',
      '10.0.0.1',
      '10.0.0.1',
      '10.0.0.1',
      '::1',
    ]);
  });
});

describe('the maximum of sessions', () => {
  it('admits up to it, again after each release, and counts what it refuses', () => {
    const door = admission({ maxSessions: 2 });
    expect([door.admit(from('10.0.0.1'), 0), door.admit(unixPeer, 0), door.admit(from('10.0.0.2'), 0)]).toEqual([
      undefined,
      undefined,
      'max-sessions',
    ]);
    expect([door.count, door.refused]).toEqual([2, 1]);
    door.release(unixPeer);
    expect(door.admit(from('10.0.0.2'), 0)).toBeUndefined();
    door.release(from('10.0.0.1'));
    door.release(from('10.0.0.2'));
    expect(door.count).toBe(0);
  });
});

describe('the maximum per address', () => {
  it('counts an IPv6 network, and IPv4 in IPv6 clothes, as one', () => {
    const door = admission({ maxSessionsPerIp: 2 });
    const groups = [
      ['10.0.0.1', '::ffff:10.0.0.1', '10.0.0.1'],
      ['2001:db8::1', '2001:db8::ffff:1', '2001:db8:0:0:9::'],
      ['fe80::1%eth0', 'fe80::2%eth1', 'fe80::3'],
    ];
    for (const hosts of groups) {
      expect(hosts.map((host) => door.admit(from(host), 0))).toEqual([undefined, undefined, 'max-sessions-per-ip']);
    }
    expect(door.admit(from('2001:db8:0:1::1'), 0)).toBeUndefined();
    expect(door.count).toBe(7);
  });

  it('gives places back, also under another name of the same address', () => {
    const door = admission({ maxSessionsPerIp: 1 });
    for (let times = 0; times < 3; times++) {
      expect(door.admit(from('::ffff:10.0.0.1'), 0)).toBeUndefined();
      expect(door.admit(from('10.0.0.1'), 0)).toBe('max-sessions-per-ip');
      door.release(from('10.0.0.1'));
    }
    expect([door.count, door.refused]).toEqual([0, 3]);
  });

  it('does not take Unix sockets for one address', () => {
    const door = admission({ maxSessionsPerIp: 1, acceptRate: { perSecond: 1, burst: 1 } });
    for (let times = 0; times < 5; times++) expect(door.admit(unixPeer, 0)).toBeUndefined();
    for (let times = 0; times < 5; times++) door.release(unixPeer);
    expect(door.count).toBe(0);
  });
});

it('refuses a TCP connection without an address, which no limit could count: its peer has gone', () => {
  const door = admission({});
  expect(door.admit(from(''), 0)).toBe('gone');
  expect([door.count, door.refused]).toEqual([0, 1]);
});

describe('the block list', () => {
  it('refuses addresses and networks, whatever they are dressed as', () => {
    const blockList = blocking('192.0.2.7', '10.0.0.0/8', '2001:db8::/32', 'fe80::1');
    const door = admission({ blockList });
    const refused = ['192.0.2.7', '::ffff:192.0.2.7', '10.255.0.1', '::ffff:10.1.2.3', '2001:db8:ffff::1', 'fe80::1%eth0'];
    const admitted = ['192.0.2.8', '11.0.0.1', '2001:db9::1', 'fe80::2%eth0', '::1'];
    expect(refused.map((host) => door.admit(from(host), 0))).toEqual(refused.map(() => 'blocked'));
    expect(admitted.map((host) => door.admit(from(host), 0))).toEqual(admitted.map(() => undefined));
    expect(door.admit(unixPeer, 0)).toBeUndefined();
    expect([door.count, door.refused]).toEqual([6, 6]);
  });

  it('takes whole families, and none', () => {
    const all = admission({ blockList: blocking('0.0.0.0/0', '::/0') });
    expect([all.admit(from('1.2.3.4'), 0), all.admit(from('::2'), 0)]).toEqual(['blocked', 'blocked']);
    expect(admission({ blockList: new BlockList() }).admit(from('1.2.3.4'), 0)).toBeUndefined();
  });
});

describe('the accept rate', () => {
  const acceptRate = { perSecond: 2, burst: 3 };

  it('allows a burst, then as many a second, to each address', () => {
    const door = admission({ acceptRate });
    const at = (nowMs: number, host = '10.0.0.1') => door.admit(from(host), nowMs);
    expect([at(0), at(0), at(0), at(0)]).toEqual([undefined, undefined, undefined, 'accept-rate']);
    expect(at(0, '10.0.0.2')).toBeUndefined();
    expect([at(499), at(500), at(500)]).toEqual(['accept-rate', undefined, 'accept-rate']);
    expect([at(1_500), at(1_500), at(1_500)]).toEqual([undefined, undefined, 'accept-rate']);
    // No more than the burst is saved up.
    expect([at(3_600_000), at(3_600_000), at(3_600_000), at(3_600_000)]).toEqual([undefined, undefined, undefined, 'accept-rate']);
  });

  it('asked too early does not put the next one off', () => {
    const door = admission({ acceptRate: { perSecond: 1, burst: 1 } });
    expect(door.admit(from('10.0.0.1'), 0)).toBeUndefined();
    for (let nowMs = 10; nowMs < 1_000; nowMs += 10) expect(door.admit(from('10.0.0.1'), nowMs)).toBe('accept-rate');
    expect(door.admit(from('10.0.0.1'), 1_001)).toBeUndefined();
  });

  it('is not spent on those who are refused for another reason', () => {
    const door = admission({ acceptRate: { perSecond: 1, burst: 1 }, maxSessions: 1 });
    door.admit(unixPeer, 0);
    expect(door.admit(from('10.0.0.1'), 0)).toBe('max-sessions');
    door.release(unixPeer);
    expect(door.admit(from('10.0.0.1'), 0)).toBeUndefined();
  });

  it('remembers 100 000 addresses, and forgets the one first that was seen longest ago', () => {
    const door = admission({ acceptRate: { perSecond: 1, burst: 1 } });
    const host = (index: number): string => `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`;
    for (let index = 0; index < 100_000; index++) door.admit(from(host(index)), 0);
    expect(door.refused).toBe(0);
    // Seen again, and so the youngest; the second is the oldest now.
    expect(door.admit(from(host(0)), 0)).toBe('accept-rate');
    expect(door.admit(from('192.0.2.1'), 0)).toBeUndefined();
    expect(door.admit(from(host(0)), 0)).toBe('accept-rate');
    expect(door.admit(from(host(2)), 0)).toBe('accept-rate');
    expect(door.admit(from(host(1)), 0)).toBeUndefined();
  });
});
