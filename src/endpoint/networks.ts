import { BlockList, isIP, isIPv6 } from 'node:net';
import { invalid } from '../base/option.ts';

/** Reads IP addresses and networks in CIDR form; throws ConfigError INVALID_OPTION in the name of the option. */
export function parseNetworks(option: string, networks: readonly string[]): BlockList {
  if (!Array.isArray(networks)) throw invalid(option, 'a list of IP addresses or networks', networks);
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', prefixText, ...more] = String(network).split('/');
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    const bits = family === 'ipv6' ? 128 : 32;
    const prefix = prefixText === undefined ? bits : Number(prefixText);
    if (isIP(address) === 0 || !Number.isInteger(prefix) || prefix < 0 || prefix > bits || prefixText === '' || more.length > 0) {
      throw invalid(option, 'IP addresses or networks in CIDR form', network);
    }
    list.addSubnet(address, prefix, family);
  }
  return list;
}
