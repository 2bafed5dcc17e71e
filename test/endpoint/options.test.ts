import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/base/errors.ts';
import * as portico from '../../src/index.ts';
import {
  LineHandler,
  TaskPool,
  TcpClient,
  TcpServer,
  withAcceptRate,
  withBacklog,
  withBlockList,
  withClock,
  withConcurrentMessages,
  withConnectionNumber,
  withConnectTimeoutMs,
  withCronPeriodMs,
  withDrainTimeoutMs,
  withEventListener,
  withHalfOpen,
  withHandshakeTimeoutMs,
  withHeartbeat,
  withIdleTimeoutMs,
  withIpv6Only,
  withKeepAliveMs,
  withListenerErrorPolicy,
  withLocalAddress,
  withLogger,
  withMaxPackageBytes,
  withMaxSessions,
  withMaxSessionsPerIp,
  withNoDelay,
  withOpenTimeoutMs,
  withPickStrategy,
  withPkgHandler,
  withReader,
  withReaderIdleMs,
  withReadTimeoutMs,
  withReconnect,
  withSendQueue,
  withServerAddress,
  withSessionName,
  withSourceAddress,
  withStaticRead,
  withTaskPool,
  withTls,
  withTlsReloadMs,
  withWaterMarks,
  withWriter,
  withWriterIdleMs,
  withWriteTimeoutMs,
} from '../../src/index.ts';

/** A value as its type says it cannot be. */
const bad = (value: unknown): never => value as never;

const ms0 = 'a whole number, from 0 to 2147483647';
const ms1 = 'a whole number, from 1 to 2147483647';
const from0 = 'a whole number, 0 or more';
const from1 = 'a whole number, 1 or more';
const flag = 'true or false';

/** Every option with values that it does not take: what is done, what is expected, what was given. */
const table: readonly (readonly [call: () => unknown, expected: string, given: string])[] = [
  [() => withAcceptRate(0), `withAcceptRate perSecond: ${from1}`, '0'],
  [() => withAcceptRate(1, 0.5), `withAcceptRate burst: ${from1}`, '0.5'],
  [() => withBacklog(0), 'withBacklog: a whole number, from 1 to 65535', '0'],
  [() => withBacklog(65_536), 'withBacklog: a whole number, from 1 to 65535', '65536'],
  [() => withBlockList(['10.0.0.0/33']), 'withBlockList: IP addresses or networks in CIDR form', '"10.0.0.0/33"'],
  [() => withBlockList(['10.0.0.0/']), 'withBlockList: IP addresses or networks in CIDR form', '"10.0.0.0/"'],
  [() => withBlockList(['10.0.0.0/8/8']), 'withBlockList: IP addresses or networks in CIDR form', '"10.0.0.0/8/8"'],
  [() => withBlockList(['::/-1']), 'withBlockList: IP addresses or networks in CIDR form', '"::/-1"'],
  [() => withBlockList(['example.org']), 'withBlockList: IP addresses or networks in CIDR form', '"example.org"'],
  [() => withBlockList([bad(7)]), 'withBlockList: IP addresses or networks in CIDR form', '7'],
  [() => withBlockList(bad('10.0.0.0/8')), 'withBlockList: a list of IP addresses or networks', '"10.0.0.0/8"'],
  [() => withClock(bad({ now: () => 0 })), 'withClock: an object with the method(s) after, yield', 'an object (Object)'],
  [() => withConcurrentMessages(0), 'withConcurrentMessages: a whole number, from 1 to 65536', '0'],
  [() => withConcurrentMessages(Number.POSITIVE_INFINITY), 'withConcurrentMessages: a whole number, from 1 to 65536', 'Infinity'],
  [() => withConnectTimeoutMs(0), `withConnectTimeoutMs: ${ms1}`, '0'],
  [() => withConnectTimeoutMs(2 ** 31), `withConnectTimeoutMs: ${ms1}`, '2147483648'],
  [() => withConnectionNumber(0), 'withConnectionNumber: a whole number, from 1 to 65535', '0'],
  [() => withConnectionNumber(bad('5')), 'withConnectionNumber: a whole number, from 1 to 65535', '"5"'],
  [() => withCronPeriodMs(0), `withCronPeriodMs: ${ms1}`, '0'],
  [() => withCronPeriodMs(Number.NaN), `withCronPeriodMs: ${ms1}`, 'NaN'],
  [() => withDrainTimeoutMs(-1), `withDrainTimeoutMs: ${ms0}`, '-1'],
  [() => withOpenTimeoutMs(-1), `withOpenTimeoutMs: ${ms0}`, '-1'],
  [() => withEventListener(bad({})), 'withEventListener: an object with the method(s) onMessage', 'an object (Object)'],
  [() => withEventListener(bad(undefined)), 'withEventListener: an object with the method(s) onMessage', 'undefined'],
  [() => withEventListener(bad({ onMessage() {}, onCron: 5 })), 'withEventListener onCron: a function', '5'],
  [() => withHalfOpen(bad(1)), `withHalfOpen: ${flag}`, '1'],
  [() => withHandshakeTimeoutMs(0), `withHandshakeTimeoutMs: ${ms1}`, '0'],
  [() => withHeartbeat({ intervalMs: 0, timeoutMs: 5 }), `withHeartbeat intervalMs: ${ms1}`, '0'],
  [() => withHeartbeat({ intervalMs: 5, timeoutMs: 1.5 }), `withHeartbeat timeoutMs: ${ms1}`, '1.5'],
  [() => withHeartbeat({ intervalMs: 5, timeoutMs: 5 }), 'withHeartbeat timeoutMs: more than intervalMs (5)', '5'],
  [() => withHeartbeat({ intervalMs: 5, timeoutMs: 6, ping: bad('ping') }), 'withHeartbeat ping: a function', '"ping"'],
  [() => withHeartbeat(bad(null)), 'withHeartbeat: an object with intervalMs and timeoutMs', 'null'],
  [() => withIdleTimeoutMs(-1), `withIdleTimeoutMs: ${ms0}`, '-1'],
  [() => withIpv6Only(bad('yes')), `withIpv6Only: ${flag}`, '"yes"'],
  [() => withKeepAliveMs(-1), `withKeepAliveMs: ${ms0}`, '-1'],
  [() => withListenerErrorPolicy(bad('ignore')), 'withListenerErrorPolicy: one of close, continue', '"ignore"'],
  [() => withLocalAddress(bad(9000)), 'withLocalAddress: a string of 1 to 1024 bytes', '9000'],
  [() => new TcpServer(withLocalAddress('127.0.0.9999')), "withLocalAddress: 'host:port', ", '"127.0.0.9999"'],
  [() => withLogger(bad({ warn() {} })), 'withLogger: an object with the method(s) error', 'an object (Object)'],
  [() => withMaxPackageBytes(-1), `withMaxPackageBytes: ${from0}`, '-1'],
  [() => withMaxPackageBytes(bad(5n)), `withMaxPackageBytes: ${from0}`, '5'],
  [() => withMaxSessions(0), `withMaxSessions: ${from1}`, '0'],
  [() => withMaxSessionsPerIp(-1), `withMaxSessionsPerIp: ${from0}`, '-1'],
  [() => withNoDelay(bad(undefined)), `withNoDelay: ${flag}`, 'undefined'],
  [() => withPickStrategy(bad('first')), 'withPickStrategy: one of round-robin, least-pending, random', '"first"'],
  [() => withPkgHandler(bad({ read() {} })), 'withPkgHandler: an object with the method(s) write', 'an object (Object)'],
  [() => withReader(bad({})), 'withReader: an object with the method(s) read', 'an object (Object)'],
  [() => withReaderIdleMs(0.1), `withReaderIdleMs: ${ms0}`, '0.1'],
  [() => withReadTimeoutMs(-1), `withReadTimeoutMs: ${ms0}`, '-1'],
  [() => withReconnect({ baseMs: 0 }), `withReconnect baseMs: ${ms1}`, '0'],
  [() => withReconnect({ maxMs: -1 }), `withReconnect maxMs: ${ms1}`, '-1'],
  [() => withReconnect({ baseMs: 500, maxMs: 400 }), 'withReconnect maxMs: at least baseMs (500)', '400'],
  [() => withReconnect({ attempts: 0 }), `withReconnect attempts: ${from1}`, '0'],
  [() => withReconnect({ random: bad(0.5) }), 'withReconnect random: a function', '0.5'],
  [() => withReconnect({ shouldReconnect: bad(true) }), 'withReconnect shouldReconnect: a function', 'true'],
  [() => withReconnect(bad(true)), 'withReconnect: false or an object', 'true'],
  [() => withSendQueue(0), `withSendQueue maxBytes: ${from1}`, '0'],
  [() => withSendQueue(1, bad('block')), 'withSendQueue policy: one of close, reject, drop-oldest, drop-newest', '"block"'],
  [() => withServerAddress(''), 'withServerAddress: a string of 1 to 1024 bytes', '""'],
  [() => new TcpClient(withServerAddress('a b:1')), "withServerAddress: 'host:port', ", '"a b:1"'],
  [() => withSessionName(''), 'withSessionName: a string of 1 to 256 bytes', '""'],
  [() => withSessionName('é'.repeat(129)), 'withSessionName: a string of 1 to 256 bytes', `"${'é'.repeat(76)}...`],
  [() => withSourceAddress('localhost'), 'withSourceAddress: an IP address without a port', '"localhost"'],
  [() => withSourceAddress('127.0.0.1:5'), 'withSourceAddress: an IP address without a port', '"127.0.0.1:5"'],
  [() => withSourceAddress(bad(5)), 'withSourceAddress: an IP address without a port', '5'],
  [() => withStaticRead(bad(null)), `withStaticRead: ${flag}`, 'null'],
  [() => withTaskPool(bad({ run() {} })), 'withTaskPool: an object with the method(s) close', 'an object (Object)'],
  [() => withTls(bad('cert.pem')), 'withTls: TLS options or a function', '"cert.pem"'],
  [() => withTls(bad(null)), 'withTls: TLS options or a function', 'null'],
  [() => withTlsReloadMs(-1), `withTlsReloadMs: ${ms0}`, '-1'],
  [() => withWaterMarks(-1, 5), `withWaterMarks lowBytes: ${from0}`, '-1'],
  [() => withWaterMarks(0, 0), `withWaterMarks highBytes: ${from1}`, '0'],
  [() => new TcpServer(withWaterMarks(6, 5)), 'withWaterMarks and withSendQueue: lowBytes <= highBytes <= maxBytes', '"6, 5, 4194304"'],
  [() => new TcpServer(withSendQueue(5)), 'withWaterMarks and withSendQueue: lowBytes <= highBytes <= maxBytes', '"65536, 262144, 5"'],
  [() => withWriter(bad({ write: 1 })), 'withWriter: an object with the method(s) write', 'an object (Object)'],
  [() => withWriterIdleMs(-1), `withWriterIdleMs: ${ms0}`, '-1'],
  [() => withWriteTimeoutMs(-1), `withWriteTimeoutMs: ${ms0}`, '-1'],
  [() => new TcpServer(bad({ port: 5 })), 'option 1: a value made by a with… function', 'an object (Object)'],
];

describe('a bad value', () => {
  it.each(table.map(([call, expected, given]) => ({ call, expected, given })))(
    'is refused where it is given: $expected, given $given',
    (row) => {
      const [name = '', what = ''] = row.expected.split(/: (.*)/s);
      let thrown: unknown;
      try {
        row.call();
      } catch (error) {
        thrown = error;
      }
      expect(thrown).toBeInstanceOf(ConfigError);
      const { message } = thrown as ConfigError;
      expect(message.startsWith(`${name}: expected ${what}`), message).toBe(true);
      expect(message.endsWith(`, given ${row.given}`), message).toBe(true);
    },
  );

  it('is in the table for every option there is', () => {
    const names = Object.keys(portico).filter((name) => name.startsWith('with'));
    const tested = table.map(([call]) => call.toString());
    expect(names.filter((name) => !tested.some((code) => code.includes(name)))).toEqual([]);
  });
});

describe('options', () => {
  it('may be given again: the later one wins, and nothing of the caller is changed', () => {
    const blocked = ['10.0.0.0/8'];
    const reconnect = { baseMs: 5 };
    const server = new TcpServer(withLocalAddress('[::1]:5'), withLocalAddress('127.0.0.1:0'), withBlockList(blocked));
    const client = new TcpClient(withServerAddress('127.0.0.1:1'), withReconnect(reconnect));
    expect([server.isClosed, client.isClosed]).toEqual([false, false]);
    expect(blocked).toEqual(['10.0.0.0/8']);
    expect(reconnect).toEqual({ baseMs: 5 });
  });

  it('take the highest and the lowest values that they should', () => {
    const options = [withDrainTimeoutMs(0), withIdleTimeoutMs(2 ** 31 - 1), withMaxPackageBytes(0), withWaterMarks(0, 1), withSendQueue(1)];
    expect(() => new TcpServer(...options, withBacklog(65_535), withMaxSessions(1), withKeepAliveMs(0))).not.toThrow();
    expect(() => new TcpClient(withServerAddress('unix:@x'), withConnectionNumber(65_535), withReconnect(false))).not.toThrow();
    expect(() => withReconnect({ attempts: Number.POSITIVE_INFINITY })).not.toThrow();
  });

  it('can be the same for several endpoints', async () => {
    const pool = new TaskPool();
    const shared = [withPkgHandler(new LineHandler()), withEventListener<string, string>({ onMessage() {} }), withTaskPool(pool)];
    const endPoints = [new TcpServer<string>(...shared), new TcpClient<string>(withServerAddress(':1'), ...shared)];
    await Promise.all([...endPoints, pool].map((closable) => closable.close()));
  });
});
