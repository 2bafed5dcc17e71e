import type { BusDirectory, DirectoryEntry } from '../backplane/bus.ts';
import { describeThrown, type PorticoError, TransportError } from '../base/errors.ts';
import type { RedisClient } from './redis-client.ts';
import { isRefusal } from './redis-link.ts';
import { CLEAR_NODE, FORGET_DEAD_NODES, FORGET_NODE, LOCATE, READ_ROOM, REMOVE_MEMBER } from './redis-scripts.ts';

/** Commands that may wait for their answers; what would be above is left out, and written again with the next beat. */
const MAX_PENDING_COMMANDS = 10_000;
/** Members or clients in one command. */
const MAX_BATCH = 200;

export interface RedisDirectoryOptions {
  readonly keyPrefix: string;
  readonly nodeId: () => string;
  readonly onError: (error: PorticoError) => void;
}

/** Presence in Redis: each node writes its own keys, which count as long as its lease is there. */
export class RedisDirectory implements BusDirectory {
  deferred = 0;
  readonly #options: RedisDirectoryOptions;
  #redis: RedisClient | undefined;
  #pending = 0;
  /** What this node wrote is not all that it has. */
  #isIncomplete = false;
  #hasReported = false;

  constructor(options: RedisDirectoryOptions) {
    this.#options = options;
  }

  /** From here on commands go by this connection. */
  use(redis: RedisClient): void {
    this.#redis = redis;
    this.#hasReported = false;
  }

  setMember(room: string, memberId: string, version: number, state: Uint8Array): void {
    // The room first, so that whatever is written can be found and cleared.
    this.#write(['SADD', `${this.#own}:rooms`, room]);
    this.#write(['HSET', `${this.#own}:room:${room}`, memberId, encode(version, state)]);
  }

  removeMember(room: string, memberId: string): void {
    this.#write(this.#script(REMOVE_MEMBER, this.#options.nodeId(), room, memberId));
  }

  register(clientId: string): void {
    this.#write(['SADD', `${this.#own}:clients`, clientId]);
  }

  unregister(clientId: string): void {
    this.#write(['SREM', `${this.#own}:clients`, clientId]);
  }

  async renew(leaseMs: number): Promise<boolean> {
    if (this.#isIncomplete) return false;
    try {
      const answer = await this.#send(['SET', this.#own, '1', 'PX', String(leaseMs), 'XX']);
      return answer !== null;
    } catch (thrown) {
      this.#onFailure(thrown);
      return false;
    }
  }

  async rewrite(
    members: Iterable<readonly [room: string, entry: DirectoryEntry]>,
    clients: Iterable<string>,
    leaseMs: number,
  ): Promise<void> {
    this.#isIncomplete = false;
    const nodeId = this.#options.nodeId();
    try {
      await this.#send(this.#script(CLEAR_NODE, nodeId));
      for (const [room, fields] of roomBatches(members)) {
        await Promise.all([this.#send(['SADD', `${this.#own}:rooms`, room]), this.#send(['HSET', `${this.#own}:room:${room}`, ...fields])]);
      }
      for (const batch of batches(clients)) await this.#send(['SADD', `${this.#own}:clients`, ...batch]);
      if (leaseMs > 0) {
        await Promise.all([
          this.#send(['SADD', `${this.#options.keyPrefix}nodes`, nodeId]),
          this.#send(['SET', this.#own, '1', 'PX', String(leaseMs)]),
          this.#send(this.#script(FORGET_DEAD_NODES)),
        ]);
      }
    } catch (thrown) {
      this.#isIncomplete = true;
      this.#onFailure(thrown);
    }
  }

  async read(room: string): Promise<ReadonlyMap<string, readonly DirectoryEntry[]>> {
    const answer = await this.#ask(this.#script(READ_ROOM, room));
    const found = new Map<string, DirectoryEntry[]>();
    if (!Array.isArray(answer)) return found;
    for (let index = 0; index + 1 < answer.length; index += 2) found.set(String(answer[index]), entriesOf(answer[index + 1]));
    return found;
  }

  async locate(clientId: string): Promise<string | undefined> {
    const answer = await this.#ask(this.#script(LOCATE, clientId));
    return answer === null ? undefined : String(answer);
  }

  async forget(nodeId: string): Promise<void> {
    await this.#send(this.#script(FORGET_NODE, nodeId)).catch((thrown: unknown) => this.#onFailure(thrown));
  }

  get #own(): string {
    return `${this.#options.keyPrefix}node:${this.#options.nodeId()}`;
  }

  #script(script: string, ...args: string[]): string[] {
    return ['EVAL', script, '1', this.#options.keyPrefix, ...args];
  }

  #write(args: readonly (string | Buffer)[]): void {
    if (this.#pending >= MAX_PENDING_COMMANDS) {
      this.#isIncomplete = true;
      this.deferred++;
      return;
    }
    this.#pending++;
    this.#send(args)
      .catch((thrown: unknown) => {
        this.#isIncomplete = true;
        this.#onFailure(thrown);
      })
      .finally(() => {
        this.#pending--;
      });
  }

  #send(args: readonly (string | Buffer)[]): Promise<unknown> {
    return this.#redis?.sendCommand(args) ?? Promise.reject(new Error('not connected'));
  }

  async #ask(args: readonly (string | Buffer)[]): Promise<unknown> {
    try {
      return await this.#send(args);
    } catch (thrown) {
      this.#onFailure(thrown);
      throw failure(thrown);
    }
  }

  /** Refusals are told once for each connection; a loss is told by the connection itself. */
  #onFailure(thrown: unknown): void {
    if (!isRefusal(thrown) || this.#hasReported) return;
    this.#hasReported = true;
    this.#options.onError(failure(thrown));
  }
}

function failure(cause: unknown): TransportError {
  return new TransportError('BACKPLANE_FAILED', `RedisBackplane: presence cannot be kept: ${describeThrown(cause)}`, { cause });
}

function encode(version: number, state: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(8 + state.length);
  bytes.writeDoubleBE(version, 0);
  bytes.set(state, 8);
  return bytes;
}

/** Fields and values by turns, as HGETALL within a script answers. What somebody else wrote there is left out. */
function entriesOf(answer: unknown): DirectoryEntry[] {
  const entries: DirectoryEntry[] = [];
  if (!Array.isArray(answer)) return entries;
  for (let index = 0; index + 1 < answer.length; index += 2) {
    const value: unknown = answer[index + 1];
    if (!Buffer.isBuffer(value) || value.length < 8) continue;
    entries.push({ memberId: String(answer[index]), version: value.readDoubleBE(0), state: value.subarray(8) });
  }
  return entries;
}

function* roomBatches(members: Iterable<readonly [string, DirectoryEntry]>): Generator<[string, (string | Buffer)[]]> {
  let current: [string, (string | Buffer)[]] | undefined;
  for (const [room, { memberId, version, state }] of members) {
    if (current !== undefined && (current[0] !== room || current[1].length >= MAX_BATCH)) {
      yield current;
      current = undefined;
    }
    current ??= [room, []];
    current[1].push(memberId, encode(version, state));
  }
  if (current !== undefined) yield current;
}

function* batches(names: Iterable<string>): Generator<string[]> {
  let batch: string[] = [];
  for (const name of names) {
    batch.push(name);
    if (batch.length < MAX_BATCH) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
