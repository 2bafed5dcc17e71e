import { isIPv4, isIPv6, SocketAddress } from 'node:net';

const IPV6_GROUPS = 8;

/** An IP address in the form in which Node shows those of sockets, or undefined if the text is none or has a zone. */
export function canonicalIp(text: string): string | undefined {
  if (isIPv4(text)) return text;
  if (!isIPv6(text) || text.includes('%')) return undefined;
  return new SocketAddress({ address: text, family: 'ipv6' }).address;
}

/** The text of an address of 4 or 16 bytes. */
export function ipOfBytes(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups = Array.from({ length: IPV6_GROUPS }, (_, index) =>
    (((bytes[2 * index] ?? 0) << 8) | (bytes[2 * index + 1] ?? 0)).toString(16),
  );
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address;
}

/** The 4 bytes of an IPv4 address, or the 16 of an IPv6 one. The text MUST be an IP address without a zone. */
export function bytesOfIp(text: string): Buffer {
  if (isIPv4(text)) return Buffer.from(text.split('.').map(Number));
  const [head = '', tail] = withoutDots(text).split('::');
  const before = groupsOf(head);
  const after = groupsOf(tail ?? '');
  const zeros = Array<number>(IPV6_GROUPS - before.length - after.length).fill(0);
  return Buffer.from([...before, ...zeros, ...after].flatMap((group) => [group >> 8, group & 0xff]));
}

/** `::ffff:1.2.3.4` as `::ffff:102:304`. */
function withoutDots(text: string): string {
  const ipv4 = /\d+\.\d+\.\d+\.\d+$/.exec(text)?.[0];
  if (ipv4 === undefined) return text;
  const bytes = bytesOfIp(ipv4);
  return `${text.slice(0, -ipv4.length)}${bytes.readUInt16BE(0).toString(16)}:${bytes.readUInt16BE(2).toString(16)}`;
}

function groupsOf(text: string): number[] {
  return text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));
}
