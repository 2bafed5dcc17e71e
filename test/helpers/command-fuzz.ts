import { expect, onTestFinished } from 'vitest';
import { RawHandler } from '../../src/codec/raw.ts';
import type { CommandMessage } from '../../src/command/command-handler.ts';
import { commandOptions } from '../../src/command/endpoint-options.ts';
import { CommandHub } from '../../src/command/hub.ts';
import { withLogger } from '../../src/endpoint/options.ts';
import { ActionPacketHandler } from '../../src/router/action-packet.ts';
import { Router } from '../../src/router/router.ts';
import { RpcLineHandler } from '../../src/rpc/rpc-framings.ts';
import { RpcListener } from '../../src/rpc/rpc-listener.ts';
import { rpcOverCommands } from '../../src/rpc/rpc-over-commands.ts';
import type { Session } from '../../src/session/session.ts';
import { seededRandom } from '../../src/transport/memory-random.ts';
import { actionFrame, actionMessage } from './action-packets.ts';
import { MemoryWorld } from './session-memory.ts';
import { eventually, settle } from './session-recorder.ts';

/** Something that takes bytes from strangers. */
export interface FuzzTarget {
  readonly kind: 'stream' | 'message';
  /** Resolves with a question of what is left when nobody is there any more; 0 is right. */
  readonly serve: (world: MemoryWorld) => Promise<() => number>;
  /** What a stranger says first, if anybody is to listen to the rest. */
  readonly opening?: Buffer;
  /** Messages that are understood; they are cut, changed and put together. */
  readonly seeds: readonly Buffer[];
  /** How a message stands in the stream. */
  readonly frame?: (message: Buffer) => Buffer;
  /** A question, and how its answer ends. */
  readonly question: Buffer;
  readonly answer: Buffer;
}

/** Failures of our own code, which a session survives as those of any listener: it closes, as if the stranger had been wrong. */
const ownFailures: string[] = [];
const onLine = (line: string): void => {
  if (/LISTENER_FAILED|HANDLER_FAILED/.test(line) && !line.includes(EXPECTED)) ownFailures.push(line);
};
const EXPECTED = 'a handler of the test';
const silent = withLogger({ warn: onLine, error: onLine });
const HELLO = command(0xfffffff0, '{"v":1}');

/** A command as it stands in a message. */
export function command(id: number, payload: string | Uint8Array): Buffer {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(id);
  return Buffer.concat([head, Buffer.from(payload)]);
}

/** A message with its size in front, and what the size counts besides. */
export function sized(message: Buffer, besides = 0): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(message.length + besides);
  return Buffer.concat([size, message]);
}

const rpcTexts = [
  '{"jsonrpc":"2.0","method":"sum","params":[1,2],"id":1}',
  '{"jsonrpc":"2.0","method":"sum","params":{"a":1},"id":"x"}',
  '[{"jsonrpc":"2.0","method":"late","id":1},{"jsonrpc":"2.0","method":"sum","params":[]},1,null]',
  '{"jsonrpc":"2.0","result":7,"id":3}',
  '{"jsonrpc":"2.0","error":{"code":-32000,"message":"no"},"id":null}',
  '{"jsonrpc":"2.0","method":"fail","id":1e400}',
  '{"jsonrpc":"2.0","method":"late","params":[[[[[[]]]]]],"id":-0}',
];

const commands = [
  ...[0, 1, 2, 77, 0xfffffffd, 0xfffffffc, 0xffffffe0].map((id) => command(id, 'hello')),
  ...rpcTexts.flatMap((text) => [command(0xffffffff, text), command(0xfffffffe, text)]),
];

const room = Buffer.from('\u0005lobby\0\0\0\u0007hello');
const natives = [
  ...commands,
  HELLO,
  command(0xfffffff0, '{"v":1,"token":"x","received":4294967295,"oldest":0,"rooms":[{"name":"lobby","state":{}}]}'),
  command(0xfffffff2, '12345678'),
  command(0xfffffff3, ''),
  ...[0xfffffff4, 0xfffffff5, 0xfffffffa].map((id) => command(id, '\0\0\0\u0001')),
  command(0xfffffff6, '{"status":1000,"reason":""}'),
  command(0xfffffff7, '\0\0\0\u0001volatile'),
  command(0xfffffff8, '\0\0\0\u0001\0\0\0\u000ahello'),
  command(0xfffffff8, '\0\0\0\u0002\0\0\0\u000b'),
  command(0xfffffff8, Buffer.concat([Buffer.of(0, 0, 0, 3, 0xff, 0xff, 0xff, 0xe1), Buffer.from('{"room":"lobby","state":1}')])),
  command(0xfffffff8, Buffer.concat([Buffer.of(0, 0, 0, 4, 0xff, 0xff, 0xff, 0xe2), Buffer.from('{"room":"lobby"}')])),
  command(0xfffffff9, '\0\0\0\u0001\0hello'),
  command(0xfffffffb, '\0\0\0\u0002\0\0\0\u0008'),
  command(0xffffffe4, room),
  command(0xfffffff7, Buffer.concat([Buffer.of(0xff, 0xff, 0xff, 0xe4), room])),
  command(0xffffffe5, '{"room":"lobby","joined":{},"left":["x"]}'),
];

const actions = [
  [1, 1, { foo: 'bar' }],
  [2, -1, {}],
  [3, 2, []],
  [99, 3, 1],
  [-2, 4, null],
  [-32_768, 32_767, 'x'],
] as const;

function routerOf(world: MemoryWorld): Promise<() => number> {
  const router = new Router({ unknownLimit: false })
    .route(1, ({ body }) => body)
    .route(2, () => Promise.reject(new Error(EXPECTED)))
    .route(3, () => {
      throw new Error(EXPECTED);
    });
  return world.server(new ActionPacketHandler(), router.listener(), [silent]).then((server) => () => server.sessions.size);
}

async function hubOf(world: MemoryWorld, streamProfile: 'knet' | 'native'): Promise<() => number> {
  const hub = new CommandHub({
    clock: world.clock,
    streamProfile,
    authorizeJoin: () => true,
    authorizeRoomMessage: () => true,
    onError: () => {},
  });
  hub.on(1, (client, payload) => void client.send(1, payload));
  hub.on(2, () => Promise.reject(new Error(EXPECTED)));
  hub.handle(10, (_client, payload) => payload);
  hub.handle(11, async function* () {
    for (let n = 0; n < 3; n++) yield Buffer.of(n);
  });
  const rpc = rpcOverCommands(hub, { clock: world.clock, onError: () => {} });
  rpc.method('sum', () => 3).method('late', () => Promise.resolve(1));
  const server = await world.server<CommandMessage, CommandMessage>(hub.codec, hub, [commandOptions(hub), silent]);
  return () => {
    const { clients, rooms } = hub.stats();
    return server.sessions.size + clients + rooms + rpc.peerCount;
  };
}

async function rpcOf(world: MemoryWorld): Promise<() => number> {
  const listener = new RpcListener({ onError: () => {}, onSessionError: () => {} });
  listener.method('sum', () => 3).method('late', () => Promise.resolve(1));
  const server = await world.server<string, string>(new RpcLineHandler(), listener, [silent]);
  return () => server.sessions.size + [...listener.peers()].length;
}

export const FUZZ_TARGETS: Readonly<Record<string, FuzzTarget>> = {
  T: {
    kind: 'stream',
    serve: routerOf,
    seeds: actions.map(([action, seq, body]) => actionMessage(action, seq, body)),
    frame: (message) => sized(message, 4),
    question: actionFrame(1, 7, 'honest'),
    answer: actionFrame(1, 7, 'honest'),
  },
  A: {
    kind: 'message',
    serve: routerOf,
    seeds: actions.map(([action, seq, body]) => actionMessage(action, seq, body)),
    question: actionMessage(1, 7, 'honest'),
    answer: actionMessage(1, 7, 'honest'),
  },
  C: {
    kind: 'message',
    serve: (world) => hubOf(world, 'knet'),
    seeds: commands,
    question: command(1, 'honest'),
    answer: command(1, 'honest'),
  },
  'C, native': {
    kind: 'stream',
    serve: (world) => hubOf(world, 'native'),
    opening: sized(HELLO),
    seeds: natives,
    frame: (message) => sized(message),
    question: sized(command(1, 'honest')),
    answer: sized(command(1, 'honest')),
  },
  'JSON-RPC': {
    kind: 'stream',
    serve: rpcOf,
    seeds: rpcTexts.map((text) => Buffer.from(`${text}\r\n`)),
    question: Buffer.from('{"jsonrpc":"2.0","method":"sum","id":"honest"}\n'),
    answer: Buffer.from('{"jsonrpc":"2.0","result":3,"id":"honest"}\n'),
  },
};

/** Random bytes, or messages that are nearly right, mostly in the frame that their length asks for. */
function makeString(random: () => number, { seeds, frame = (message) => message }: FuzzTarget): Buffer {
  const below = (limit: number): number => Math.floor(random() * limit);
  const pick = (): Buffer => Buffer.from(seeds[below(seeds.length)] ?? []);
  const changed = (bytes: Buffer): Buffer => {
    for (let changes = below(4); changes > 0 && bytes.length > 0; changes--) bytes[below(bytes.length)] = below(256);
    return random() < 0.25 ? bytes.subarray(0, below(bytes.length + 1)) : bytes;
  };
  if (random() < 0.2) return Buffer.from(Array.from({ length: below(random() < 0.02 ? 4_096 : 48) }, () => below(256)));
  if (random() < 0.2) return changed(Buffer.concat([frame(pick()), frame(changed(pick()))]));
  return frame(changed(pick()));
}

const MAX_WIDTH = 400;

/** Gives a target so many strings, in connections of one to four, and expects that nothing of them is left. */
export class Fuzz {
  readonly world: MemoryWorld;
  readonly #target: FuzzTarget;
  readonly #random: () => number;
  readonly #left: () => number;
  closed = 0;

  private constructor(world: MemoryWorld, target: FuzzTarget, random: () => number, left: () => number) {
    this.world = world;
    this.#target = target;
    this.#random = random;
    this.#left = left;
  }

  static async of(target: FuzzTarget, seed: number): Promise<Fuzz> {
    let isServing = true;
    // Only the server: a million clients that wait for the end of the test would be a leak of the test's own.
    const world = new MemoryWorld({ kind: target.kind, seed }, (ending) => (isServing ? onTestFinished(ending) : undefined));
    const left = await target.serve(world);
    isServing = false;
    return new Fuzz(world, target, seededRandom(seed), left);
  }

  async run(count: number): Promise<void> {
    const width = Math.min(MAX_WIDTH, Math.ceil(count / 5));
    for (let given = 0; given < count; ) {
      const sizes = Array.from({ length: width }, () => 1 + Math.floor(this.#random() * 4));
      await Promise.all(sizes.map((strings) => this.#connection(strings)));
      given += sizes.reduce((sum, size) => sum + size, 0);
    }
    // Time-outs of everything that was begun, and then the clients that might have come back.
    await this.world.clock.advance(300_000);
    expect(ownFailures.splice(0)).toEqual([]);
    await eventually(() => this.#left() === 0, `nothing is left of it (seed ${this.world.network.seed})`);
  }

  async #connection(strings: number): Promise<void> {
    const session = await this.#connect();
    for (let index = 0; index < strings; index++) await this.#say(session, makeString(this.#random, this.#target));
    await settle(4);
    if (session.hasEnded || session.isClosed) this.closed++;
    session.destroy();
  }

  async #connect(onMessage: (session: unknown, bytes: Buffer) => void = () => {}): Promise<Session<Buffer, Uint8Array>> {
    const session = await this.world.connect<Buffer, Uint8Array>(new RawHandler(), { onMessage, onError: () => {} });
    const { opening } = this.#target;
    if (opening !== undefined) {
      await this.#say(session, opening);
      // For the answer.
      await settle(6);
    }
    return session;
  }

  async #say(session: Session<Buffer, Uint8Array>, bytes: Buffer): Promise<void> {
    if (!session.isClosed) await session.writeBytes(bytes).catch(() => {});
  }

  /** Somebody who is in order is answered. */
  async honest(): Promise<void> {
    const received: Buffer[] = [];
    const session = await this.#connect((_session, bytes) => void received.push(bytes));
    const { question, answer } = this.#target;
    await this.#say(session, question);
    const what = `the honest client is answered (seed ${this.world.network.seed})`;
    await eventually(() => Buffer.concat(received).subarray(-answer.length).equals(answer), what);
    expect(session.isClosed, what).toBe(false);
    session.destroy();
  }
}
