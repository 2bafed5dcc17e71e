import { loadPackage } from '../backplane/load-package.ts';

/** The part of @redis/client that is used here, so that nobody who does without the package needs its types. */
export interface RedisClient {
  connect(): Promise<unknown>;
  sendCommand(args: readonly (string | Buffer)[]): Promise<unknown>;
  publish(channel: string, bytes: Buffer): Promise<unknown>;
  subscribe(channels: string[], listener: (bytes: Buffer, channel: Buffer) => void, isBuffer: true): Promise<void>;
  unsubscribe(channel: string): Promise<void>;
  withTypeMapping(mapping: Readonly<Record<number, unknown>>): RedisClient;
  close(): Promise<unknown>;
  destroy(): void;
  on(event: 'error', listener: (error: unknown) => void): unknown;
  on(event: 'end', listener: () => void): unknown;
}

export interface RedisModule {
  createClient(options: object): RedisClient;
  readonly RESP_TYPES: { readonly BLOB_STRING: number; readonly SIMPLE_STRING: number };
}

export async function loadRedis(): Promise<RedisModule> {
  // Its own types would be needed by those who do without the package, too.
  return (await loadPackage('RedisBackplane', '@redis/client')) as RedisModule;
}
