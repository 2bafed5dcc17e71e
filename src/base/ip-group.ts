import { isIPv6 } from 'node:net';

/** Without a zone, and as IPv4 when it is IPv4 in IPv6 clothes. */
export function plainIp(host: string): string {
  const ip = host.replace(/%.*$/, '');
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip);
  return mapped?.[1] ?? ip;
}

/** Addresses that belong to one customer: an IPv4 address, or a /64 of IPv6, since whoever has one address there has all. */
export function ipGroup(host: string): string {
  const ip = plainIp(host);
  if (!isIPv6(ip)) return ip;
  const [head = '', tail] = ip.split('::');
  const headGroups = head === '' ? [] : head.split(':');
  const tailGroups = tail === undefined || tail === '' ? [] : tail.split(':');
  const missing = tail === undefined ? 0 : 8 - headGroups.length - tailGroups.length;
  const groups = [...headGroups, ...Array<string>(Math.max(0, missing)).fill('0'), ...tailGroups];
  const network = groups.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${network.join(':')}::/64`;
}
