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
  withCompression,
  withConcurrentMessages,
  withConnectionNumber,
  withConnectTimeoutMs,
  withCronPeriodMs,
  withDrainTimeoutMs,
  withEventListener,
  withHalfOpen,
  withHandshakeTimeoutMs,
  withHeaders,
  withHeartbeat,
  withHttpServer,
  withIdleTimeoutMs,
  withIpv6Only,
  withKeepAliveMs,
  withListenerErrorPolicy,
  withLocalAddress,
  withLogger,
  withMaxFragments,
  withMaxHeaderBytes,
  withMaxPackageBytes,
  withMaxRedirects,
  withMaxSessions,
  withMaxSessionsPerIp,
  withMessageTimeoutMs,
  withMessageType,
  withNoDelay,
  withOpenTimeoutMs,
  withOrigins,
  withPath,
  withPermessageDeflate,
  withPickStrategy,
  withPing,
  withPkgHandler,
  withProxyAgent,
  withProxyHeader,
  withProxyProtocol,
  withReader,
  withReaderIdleMs,
  withReadTimeoutMs,
  withReconnect,
  withSendQueue,
  withServerAddress,
  withSessionName,
  withSourceAddress,
  withStaticRead,
  withSubprotocols,
  withTaskPool,
  withTextPolicy,
  withTls,
  withTlsReloadMs,
  withUpgrade,
  withVerify,
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
  [() => withProxyHeader(bad(2)), 'withProxyHeader: an object with a version', '2'],
  [() => withProxyHeader(bad({})), 'PROXY header version: 1 or 2', 'undefined'],
  [() => withProxyHeader({ version: 1, command: 'LOCAL' }), 'PROXY header command: one of PROXY', '"LOCAL"'],
  [() => withProxyProtocol(bad(undefined)), 'withProxyProtocol: an object with mode and trustedSources', 'undefined'],
  [() => withProxyProtocol(bad({ mode: 'guess' })), 'withProxyProtocol mode: one of require, optional', '"guess"'],
  [
    () => withProxyProtocol(bad({ mode: 'require' })),
    "withProxyProtocol trustedSources: a list of IP addresses, networks or 'unix'",
    'undefined',
  ],
  [
    () => withProxyProtocol({ mode: 'require', trustedSources: [] }),
    "withProxyProtocol trustedSources: a list of IP addresses, networks or 'unix'",
    'an object (Array)',
  ],
  [
    () => withProxyProtocol({ mode: 'require', trustedSources: ['10.0.0.0/33'] }),
    'withProxyProtocol trustedSources: IP addresses or networks in CIDR form',
    '"10.0.0.0/33"',
  ],
  [() => withProxyProtocol({ mode: 'require', trustedSources: ['::1'], timeoutMs: 0 }), `withProxyProtocol timeoutMs: ${ms1}`, '0'],
  [
    () => withProxyProtocol({ mode: 'require', trustedSources: ['::1'], versions: [bad(3)] }),
    'withProxyProtocol versions: a list of 1 and 2',
    'an object (Array)',
  ],
  [
    () => withProxyProtocol({ mode: 'require', trustedSources: ['::1'], maxHeaderBytes: 106 }),
    'withProxyProtocol maxHeaderBytes: a whole number, from 107 to 65551',
    '106',
  ],
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
  [() => withUpgrade(bad('gzip')), 'withUpgrade: a function', '"gzip"'],
  [() => withCompression(bad('gzip')), 'withCompression: one of none, zip, best-speed, best-compression, huffman, snappy', '"gzip"'],
  [() => withHeaders(bad(5)), 'withHeaders: an object or a function', '5'],
  [() => withHeaders({ 'a b': 'c' }), 'withHeaders: names that HTTP takes', '"a b"'],
  [() => withHeaders({ a: 'b\r\nc: d' }), 'withHeaders a: a value that HTTP takes', '"b\\r\\nc: d"'],
  [() => withHttpServer(bad({})), 'withHttpServer: an object with the method(s) on, off, address, listenerCount', 'an object (Object)'],
  [() => withMaxFragments(0), 'withMaxFragments: a whole number, from 1 to 1048576', '0'],
  [() => withMaxHeaderBytes(255), 'withMaxHeaderBytes: a whole number, from 256 to 1048576', '255'],
  [() => withMaxRedirects(-1), 'withMaxRedirects: a whole number, from 0 to 20', '-1'],
  [() => withMessageTimeoutMs(-1), `withMessageTimeoutMs: ${ms0}`, '-1'],
  [() => withMessageType(bad('json')), 'withMessageType: one of binary, text', '"json"'],
  [() => withOrigins(bad('*')), 'withOrigins: a list of origins or a function', '"*"'],
  [() => withOrigins(['example.org']), "withOrigins: origins such as 'https://example.org'", '"example.org"'],
  [() => withOrigins([], { allowMissing: bad(1) }), `withOrigins allowMissing: ${flag}`, '1'],
  [() => withPath('chat'), 'withPath: paths such as /chat, without query', '"chat"'],
  [() => withPath('/chat?x=1'), 'withPath: paths such as /chat, without query', '"/chat?x=1"'],
  [() => withPermessageDeflate(bad(true)), 'withPermessageDeflate: false or an object', 'true'],
  [() => withPermessageDeflate({ level: 10 }), 'withPermessageDeflate level: a whole number, from 0 to 9', '10'],
  [() => withPermessageDeflate({ memLevel: 0 }), 'withPermessageDeflate memLevel: a whole number, from 1 to 9', '0'],
  [() => withPing(bad(true)), 'withPing: false or an object', 'true'],
  [() => withPing({ periodMs: 0 }), `withPing periodMs: ${ms1}`, '0'],
  [() => withPing({ misses: 0 }), `withPing misses: ${from1}`, '0'],
  [() => withProxyAgent(bad({})), 'withProxyAgent: an object with the method(s) addRequest', 'an object (Object)'],
  [() => withSubprotocols(bad('v1')), 'withSubprotocols: a list of names or a function', '"v1"'],
  [() => withSubprotocols(['a b']), 'withSubprotocols: names that an HTTP header takes', '"a b"'],
  [() => withSubprotocols(['a', 'a']), 'withSubprotocols: each name once', 'an object (Array)'],
  [() => withTextPolicy(bad('drop')), 'withTextPolicy: one of reject, binary, text', '"drop"'],
  [() => withVerify(bad({})), 'withVerify: a function', 'an object (Object)'],
  [() => withWaterMarks(-1, 5), `withWaterMarks lowBytes: ${from0}`, '-1'],
  [() => withWaterMarks(0, 0), `withWaterMarks highBytes: ${from1}`, '0'],
  [() => new TcpServer(withWaterMarks(6, 5)), 'withWaterMarks and withSendQueue: lowBytes <= highBytes <= maxBytes', '"6, 5, 4194304"'],
  [() => new TcpServer(withSendQueue(5)), 'withWaterMarks and withSendQueue: lowBytes <= highBytes <= maxBytes', '"65536, 262144, 5"'],
  [() => withPkgHandler(bad({ read: async () => {}, write() {} })), 'withPkgHandler: a synchronous read', '"an async one"'],
  [() => withReader(bad({ read() {}, readEnd: async () => {} })), 'withReader: a synchronous readEnd', '"an async one"'],
  [() => withWriter(bad({ write: async () => {} })), 'withWriter: a synchronous write', '"an async one"'],
  [() => withReconnect({ stableMs: -1 }), `withReconnect stableMs: ${ms0}`, '-1'],
  [() => withWriter(bad({ write: 1 })), 'withWriter: an object with the method(s) write', 'an object (Object)'],
  [() => withWriterIdleMs(-1), `withWriterIdleMs: ${ms0}`, '-1'],
  [() => withWriteTimeoutMs(-1), `withWriteTimeoutMs: ${ms0}`, '-1'],
  [() => new TcpServer(bad({ port: 5 })), 'option 1: a value made by a with… function', 'an object (Object)'],
  // UDP
  [() => portico.withAdmit(bad('x')), 'withAdmit: a function', '"x"'],
  [() => portico.withBroadcast(bad('x')), `withBroadcast: ${flag}`, '"x"'],
  [() => portico.withMaxPeers(0), 'withMaxPeers: a whole number, from 1 to 1000000', '0'],
  [
    () => portico.withMulticastGroups({ group: '223.0.0.1' }),
    'withMulticastGroups group: an address of 224.0.0.0/4 or ff00::/8',
    '"223.0.0.1"',
  ],
  [() => portico.withMulticastInterface('eth0'), "withMulticastInterface: an IP address, such as '192.0.2.1' or '::%eth0'", '"eth0"'],
  [() => portico.withMulticastLoopback(bad(1)), `withMulticastLoopback: ${flag}`, '1'],
  [() => portico.withMulticastTtl(256), 'withMulticastTtl: a whole number, from 0 to 255', '256'],
  [() => portico.withNewPeerRate(0), `withNewPeerRate perSecond: ${from1}`, '0'],
  [() => portico.withReceiveQueue(0), `withReceiveQueue: ${from1}`, '0'],
  [() => portico.withReuseAddress(bad(1)), `withReuseAddress: ${flag}`, '1'],
  [() => portico.withSocketBuffers({ receiveBytes: 0 }), `withSocketBuffers receiveBytes: ${ms1}`, '0'],
  [() => portico.withTtl(0), 'withTtl: a whole number, from 1 to 255', '0'],
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
