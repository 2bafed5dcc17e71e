import { describeThrown, ListenerError, PorticoError } from '../base/errors.ts';
import { oneLine } from '../base/log.ts';
import { checkFunction, checkInteger, checkMs } from '../base/option.ts';
import { isThenable } from '../base/thenable.ts';
import { json } from '../protocol/json.ts';
import { type Action, type Codecs, checkCodecs, checkFormat, codecFor } from './action.ts';
import { type ActionPacket, checkAction } from './action-packet.ts';
import { checkHooks, HookedListener, type SessionHooks } from './hooked-listener.ts';
import { ERROR_ACTION } from './refusal.ts';
import type { ActionSession } from './route-context.ts';
import { type CallSettings, RouterCalls } from './router-calls.ts';

export interface RouterClientOptions extends SessionHooks {
  /** Which codecs of the actions and of `codecs` are used; the same as that of the server's listener. Default 'json'. */
  readonly format?: string;
  /** The codecs of actions that bring none, by the name of the format. Default: `{ json: json() }`. */
  readonly codecs?: Codecs;
  /** Of calls that give none. Default 30 000. */
  readonly callTimeoutMs?: number;
  /** Calls of one session that may wait at a time; one more rejects with TOO_MANY_CALLS. 1 to 65 000. Default 1024. */
  readonly maxPendingCalls?: number;
  /** The action of error replies, as the server has it; false: there are none. Default -2. */
  readonly errorAction?: number | false;
}

/** Handles what a server sends on its own. */
export type PushHandler<Body> = (body: Body, session: ActionSession, packet: ActionPacket) => void | Promise<void>;

interface Push {
  readonly handler: PushHandler<never>;
  decode(body: Uint8Array): unknown;
}

/** Handlers of one action; more are a mistake in a loop. */
const MAX_HANDLERS = 100;

/**
 * The EventListener of a client whose server is a Router, or znet: `of(session)` makes calls, and `onPush` handles what the server sends
 * on its own. Packets are told apart by action and seq: those of an open call are its reply, all others are pushes.
 *
 * @example
 * ```ts
 * import { TcpClient, withEventListener, withPkgHandler, withServerAddress } from 'portico';
 * import { ActionPacketHandler, RouterClient } from 'portico/router';
 *
 * const listener = new RouterClient();
 * listener.onPush<{ text: string }>(101, ({ text }) => console.log(text));
 * const client = new TcpClient(withServerAddress('127.0.0.1:8081'), withPkgHandler(new ActionPacketHandler()), withEventListener(listener));
 * const calls = listener.of(await client.connect());
 * console.log(await calls.call(1, { name: 'ada' }, { timeoutMs: 1000 }));
 * ```
 */
export class RouterClient extends HookedListener {
  readonly #settings: CallSettings;
  readonly #pushes = new Map<number, Set<Push>>();
  readonly #callsOf = new WeakMap<ActionSession, RouterCalls>();
  #unhandledPackets = 0;

  /** Throws INVALID_OPTION. */
  constructor(options: RouterClientOptions = {}) {
    super(checkHooks('RouterClient', options));
    const { format = 'json', codecs = { json: json() }, callTimeoutMs = 30_000, maxPendingCalls = 1024 } = options;
    const { errorAction = ERROR_ACTION } = options;
    this.#settings = {
      format: checkFormat('RouterClient format', format),
      codecs: checkCodecs('RouterClient codecs', codecs),
      callTimeoutMs: checkMs('RouterClient callTimeoutMs', callTimeoutMs),
      maxPendingCalls: checkInteger('RouterClient maxPendingCalls', maxPendingCalls, 1, 65_000),
      errorAction: errorAction === false ? false : checkAction('RouterClient errorAction', errorAction),
    };
  }

  /** The calls of a session; the same object each time. */
  of(session: ActionSession): RouterCalls {
    let calls = this.#callsOf.get(session);
    if (calls === undefined) {
      calls = new RouterCalls(session, this.#settings);
      this.#callsOf.set(session, calls);
    }
    return calls;
  }

  /** Packets that were neither replies nor had a handler; late replies are among them. */
  get unhandledPackets(): number {
    return this.#unhandledPackets;
  }

  /**
   * Adds a handler for packets of an action that reply to no call, and returns what removes it. Handlers of one action run in the order
   * in which they were added; the next packet waits for their promises. What they throw, and a body that is refused, goes to `onError`
   * and changes nothing else. Throws INVALID_OPTION, MISSING_OPTION.
   */
  onPush<Body = unknown>(action: number, handler: PushHandler<Body>): () => void;
  onPush<Body>(action: Action<never, Body, never>, handler: PushHandler<Body>): () => void;
  onPush(action: number | Action<never, unknown, never>, handler: PushHandler<never>): () => void {
    const number = checkAction('onPush action', typeof action === 'number' ? action : action.action);
    checkFunction('onPush handler', handler);
    const { codecs, format } = this.#settings;
    const codec = codecFor(typeof action === 'number' ? undefined : action.request, codecs, format, number);
    const pushes = this.#pushes.get(number) ?? new Set<Push>();
    checkInteger('onPush handlers of an action', pushes.size + 1, 1, MAX_HANDLERS);
    this.#pushes.set(number, pushes);
    const push: Push = { handler, decode: (body) => codec.decode(body) };
    pushes.add(push);
    return () => void pushes.delete(push);
  }

  onMessage(session: ActionSession, packet: ActionPacket): void | Promise<void> {
    if (this.#callsOf.get(session)?.onPacket(packet) === true) return undefined;
    const pushes = this.#pushes.get(packet.action);
    if (pushes === undefined || pushes.size === 0) {
      this.#unhandledPackets++;
      return undefined;
    }
    let pending: Promise<unknown> | undefined;
    for (const push of [...pushes]) {
      const running = this.#run(push, session, packet);
      if (running !== undefined) pending = pending === undefined ? running : Promise.all([pending, running]);
    }
    return pending?.then(() => {});
  }

  /** Never throws, and the promise never rejects. */
  #run({ handler, decode }: Push, session: ActionSession, packet: ActionPacket): Promise<void> | undefined {
    try {
      // The codec makes what the handler takes: onPush holds the two together.
      const result: unknown = (handler as PushHandler<unknown>)(decode(packet.body), session, packet);
      if (!isThenable(result)) return undefined;
      return Promise.resolve(result).then(
        () => {},
        (thrown: unknown) => this.#tell(session, packet, thrown),
      );
    } catch (thrown) {
      this.#tell(session, packet, thrown);
      return undefined;
    }
  }

  #tell(session: ActionSession, { action }: ActionPacket, thrown: unknown): void {
    const text = `push ${action}: ${describeThrown(thrown)}`;
    const error = thrown instanceof PorticoError ? thrown : new ListenerError('LISTENER_FAILED', 'message', text, { cause: thrown });
    try {
      if (this.onError !== undefined) this.onError(session, error);
      else session.logger.warn(`session ${session.id}: ${error.code}: ${oneLine(error.message)}`);
    } catch (failure) {
      session.logger.error(`session ${session.id}: onError failed: ${oneLine(describeThrown(failure))}`);
    }
  }
}
