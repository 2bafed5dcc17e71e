import type { PerMessageDeflateOptions } from 'ws';
import type { WsDeflate } from './ws-settings.ts';

/** The settings as `ws` takes them. */
export function deflateOptions(deflate: WsDeflate | undefined): PerMessageDeflateOptions | false {
  if (deflate === undefined) return false;
  const { thresholdBytes, level, memLevel, concurrency, contextTakeover } = deflate;
  return {
    threshold: thresholdBytes,
    concurrencyLimit: concurrency,
    // `false` would refuse a peer that asks for none.
    ...(contextTakeover ? {} : { serverNoContextTakeover: true, clientNoContextTakeover: true }),
    zlibDeflateOptions: { level, memLevel },
  };
}
