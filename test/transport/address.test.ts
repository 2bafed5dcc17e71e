import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/base/errors.ts';
import { withSourceAddress } from '../../src/endpoint/options.ts';
import { parseAddress, tcpAddress, unixAddress } from '../../src/transport/address.ts';
import { thrownBy } from '../helpers/thrown.ts';

const longestLabel = 'a'.repeat(63);
const longestName = [longestLabel, longestLabel, longestLabel, 'a'.repeat(61)].join('.');

describe('parseAddress', () => {
  it.each([
    ['127.0.0.1:9000', { host: '127.0.0.1', port: 9000 }],
    ['0.0.0.0:0', { host: '0.0.0.0', port: 0 }],
    ['255.255.255.255:65535', { host: '255.255.255.255', port: 65_535 }],
    ['[::1]:9000', { host: '::1', port: 9000 }],
    ['[::]:0', { host: '::', port: 0 }],
    ['[2001:db8::1]:00080', { host: '2001:db8::1', port: 80 }],
    ['[::ffff:127.0.0.1]:1', { host: '::ffff:127.0.0.1', port: 1 }],
    ['[fe80::1%eth0]:1', { host: 'fe80::1%eth0', port: 1 }],
    ['[::1]', { host: '::1', port: 0 }],
    ['localhost:9000', { host: 'localhost', port: 9000 }],
    ['a.b-c.example.org.:443', { host: 'a.b-c.example.org.', port: 443 }],
    ['_service._tcp.example.org:1', { host: '_service._tcp.example.org', port: 1 }],
    ['xn--bcher-kva.example:1', { host: 'xn--bcher-kva.example', port: 1 }],
    ['1.example:1', { host: '1.example', port: 1 }],
    ['0x7f.example:1', { host: '0x7f.example', port: 1 }],
    [`${longestName}:1`, { host: longestName, port: 1 }],
    ['localhost', { host: 'localhost', port: 0 }],
    ['127.0.0.1', { host: '127.0.0.1', port: 0 }],
    [':9000', { host: undefined, port: 9000 }],
    [':0', { host: undefined, port: 0 }],
    ['unix:/run/app.sock', { path: '/run/app.sock' }],
    ['unix:a', { path: 'a' }],
    ['unix:relative/with space:and colon', { path: 'relative/with space:and colon' }],
    ['unix:@name', { path: '\0name' }],
    ['unix:@a', { path: '\0a' }],
    [`unix:/${'a'.repeat(106)}`, { path: `/${'a'.repeat(106)}` }],
    [`unix:@${'a'.repeat(106)}`, { path: `\0${'a'.repeat(106)}` }],
  ])('reads %s', (text, expected) => {
    expect(parseAddress(text)).toEqual(expected);
  });

  it.each([
    '',
    ' ',
    ':',
    '::',
    '::1',
    '::1:9000',
    'localhost:',
    'localhost:-1',
    'localhost:+1',
    'localhost:65536',
    'localhost:99999',
    'localhost:100000',
    'localhost:1.5',
    'localhost:0x50',
    'localhost:1e3',
    'localhost: 80',
    'localhost:http',
    'localhost:80:80',
    ' localhost:80',
    'localhost:80\n',
    'local host:80',
    'local\0host:80',
    'http://localhost:80',
    'tcp://127.0.0.1:80',
    '//localhost:80',
    'user@localhost:80',
    'localhost/path:80',
    '-leading:80',
    'trailing-:80',
    'a..b:80',
    '.a:80',
    '.:80',
    'bücher.example:80',
    `${longestLabel}a.example:80`,
    `${longestName}a:80`,
    '256.1.1.1:80',
    '1.2.3:80',
    '1.2.3.4.5:80',
    '127.1:80',
    '2130706433:80',
    '0177.0.0.1:80',
    '012.1.2.3:80',
    '0x7f.1:80',
    '0x7f000001:80',
    '0x7f.0.0.0x1:80',
    '1.2.3.4.:80',
    '127.0.0.1%lo:80',
    '[]:80',
    '[127.0.0.1]:80',
    '[localhost]:80',
    '[::1:80',
    '::1]:80',
    '[::1]80',
    '[::1]:',
    '[::1]x:80',
    '[::1]:65536',
    '[:::1]:80',
    '[::g]:80',
    '[1:2:3:4:5:6:7:8:9]:80',
    'unix:',
    'unix:@',
    'unix:a\0b',
    'unix:@a\0b',
    `unix:/${'a'.repeat(107)}`,
    `unix:@${'a'.repeat(107)}`,
    `unix:/${'ä'.repeat(54)}`,
  ])('refuses %j and says what it takes', (text) => {
    const error = thrownBy(() => parseAddress(text));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error).toMatchObject({ code: 'INVALID_ADDRESS' });
    expect(String(error)).toContain("'host:port', '[ipv6]:port', ':port', 'host', 'unix:/path' or 'unix:@name'");
    expect(String(error).split('\n')).toHaveLength(1);
    expect(String(error).length).toBeLessThan(250);
  });

  it.each([undefined, null, 9000, {}, ['localhost:1'], Object.create(null)])('refuses %o, which is no text', (value) => {
    expect(thrownBy(() => parseAddress(value as string))).toMatchObject({ code: 'INVALID_ADDRESS' });
  });

  it('takes time in proportion to the text, however it is built', () => {
    const started = performance.now();
    for (const piece of ['a.', '-', '[', ':', '1.', '[:', 'a-']) expect(() => parseAddress(`${piece.repeat(50_000)}!`)).toThrow();
    expect(performance.now() - started).toBeLessThan(500);
  });
});

describe('withSourceAddress', () => {
  it.each(['127.0.0.1', '[::1]', '::1'])('takes %s', (text) => {
    expect(() => withSourceAddress(text)).not.toThrow();
  });

  it.each(['', ':0', ':80', 'localhost', '127.0.0.1:80', '[::1]:80', 'unix:/a', '127.1'])('refuses %j', (text) => {
    expect(thrownBy(() => withSourceAddress(text))).toBeInstanceOf(ConfigError);
  });
});

describe('addresses', () => {
  it('shows both families as they are read', () => {
    expect(JSON.parse(JSON.stringify(tcpAddress('127.0.0.1', 80)))).toEqual({
      text: '127.0.0.1:80',
      host: '127.0.0.1',
      port: 80,
      family: 'IPv4',
    });
    expect(JSON.parse(JSON.stringify(tcpAddress('::1', 80)))).toEqual({ text: '[::1]:80', host: '::1', port: 80, family: 'IPv6' });
    expect(tcpAddress('::ffff:127.0.0.1', 80).text).toBe('[::ffff:127.0.0.1]:80');
    expect(tcpAddress('fe80::1%lo', 80)).toMatchObject({ text: '[fe80::1%lo]:80', family: 'IPv6' });
    for (const [host, port] of [
      ['127.0.0.1', 80],
      ['::1', 80],
      ['fe80::1%lo', 1],
    ] as const) {
      expect(parseAddress(tcpAddress(host, port).text)).toEqual({ host, port });
    }
  });

  it('is empty, not wrong, for a socket that is gone', () => {
    expect(JSON.parse(JSON.stringify(tcpAddress(undefined, undefined)))).toEqual({ text: ':0', host: '', port: 0, family: 'IPv4' });
  });

  it('shows Unix sockets as they are read, abstract ones with an @', () => {
    expect(unixAddress('/run/app.sock')).toEqual({ text: 'unix:/run/app.sock', host: '', port: 0, family: 'unix', path: '/run/app.sock' });
    expect(unixAddress('\0name').text).toBe('unix:@name');
    expect(parseAddress(unixAddress('\0name').text)).toEqual({ path: '\0name' });
  });
});
