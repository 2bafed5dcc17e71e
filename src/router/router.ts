import { CallError } from '../base/call-error.ts';
import { publish } from '../base/diagnostics.ts';
import { describeThrown, ListenerError, PeerError, PorticoError, StateError } from '../base/errors.ts';
import { oneLine } from '../base/log.ts';
import { checkFunction, invalid } from '../base/option.ts';
import { isThenable } from '../base/thenable.ts';
import { InvalidBodyError } from '../protocol/invalid-body.ts';
import { json } from '../protocol/json.ts';
import { type Action, type Codecs, checkCodecs } from './action.ts';
import { type ActionPacket, checkAction } from './action-packet.ts';
import { type Middleware, Way } from './middleware.ts';
import { ERROR_ACTION, encodeRefusal } from './refusal.ts';
import type { ActionSession, RouteContext } from './route-context.ts';
import { type ListenerOptions, type Route, RouterListener, type RouterSide } from './router-listener.ts';
import { UnknownCounter, type UnknownLimit } from './unknown-limit.ts';

/** What a handler returns that wants no reply to be sent. */
export const NO_REPLY: unique symbol = Symbol('no reply');

/**
 * What is done for an action. What it returns, or its promise brings, is the reply; undefined is `null` in JSON and an empty body in
 * other formats, and NO_REPLY is none. What it throws goes to `onError` and, as an error reply, to the caller: a CallError as it is,
 * anything else as INTERNAL without its text.
 */
export type RouteHandler<Body, Reply> = (context: RouteContext<Body>) => Reply | typeof NO_REPLY | Promise<Reply | typeof NO_REPLY>;

export interface RouterOptions {
  /** The codecs of actions that bring none, by the name of the format. Default: `{ json: json() }`. */
  readonly codecs?: Codecs;
  /** The action of error replies; false: none are sent, and a request that fails is not answered, as in znet. Default -2. */
  readonly errorAction?: number | false;
  /** A session with that many unknown actions in that time is closed (RATE). Default 20 in 10 s; false: never. */
  readonly unknownLimit?: UnknownLimit | false;
}

/** What a router has done since it was made. */
export interface RouterStats {
  /** Packets for an action that there is. */
  readonly requests: number;
  readonly replies: number;
  readonly errorReplies: number;
  /** Packets for an action that there is not. */
  readonly unknown: number;
  /** Sessions closed because of too many of them. */
  readonly flooders: number;
  /** Requests whose handler, middleware or codec failed, CallErrors and bodies that were refused among them. */
  readonly failures: number;
}

export interface PushOptions {
  /** Default 0, which no request of a RouterClient has. */
  readonly seq?: number;
}

/** What became of a push to many, in sessions. */
export interface PushResult {
  /** Took the packet; `full` of them are above their high-water mark now. */
  readonly sent: number;
  readonly full: number;
  /** Did not: closed, or the packet is too large for them or for their queue. */
  readonly refused: number;
}

/** More middleware than this is a mistake in a loop; znet allows as many. */
const MAX_MIDDLEWARE = 63;

/**
 * Handlers by action, for any number of endpoints: `listener()` makes an EventListener for each. See the guide for what it does about
 * order, errors and formats.
 */
export class Router implements RouterSide {
  readonly codecs: Codecs;
  readonly #routes = new Map<number, Route>();
  readonly #errorAction: number | false;
  readonly #unknown: UnknownCounter | undefined;
  readonly #listeners = new WeakMap<ActionSession, RouterListener>();
  #chain: readonly Middleware[] = [];
  #onNotFound: ((context: RouteContext) => unknown) | undefined;
  #onError: ((context: RouteContext, error: PorticoError) => unknown) | undefined;
  readonly #stats = { requests: 0, replies: 0, errorReplies: 0, unknown: 0, flooders: 0, failures: 0 };

  /** Throws INVALID_OPTION. */
  constructor(options: RouterOptions = {}) {
    const { codecs = { json: json() }, errorAction = ERROR_ACTION, unknownLimit = {} } = options;
    this.codecs = checkCodecs('Router codecs', codecs);
    this.#errorAction = errorAction === false ? false : checkAction('Router errorAction', errorAction);
    this.#unknown = unknownLimit === false ? undefined : new UnknownCounter('Router unknownLimit', unknownLimit);
  }

  /**
   * Gives an action its handler; the later one wins, at any time. An action from `defineAction` brings codecs and types; for a number
   * the type is only claimed. Throws INVALID_OPTION, also for the action of error replies.
   */
  route<Body = unknown>(action: number, handler: RouteHandler<Body, unknown>): this;
  route<RequestSent, Body, Reply, ReplyReceived>(
    action: Action<RequestSent, Body, Reply, ReplyReceived>,
    handler: RouteHandler<Body, Reply>,
  ): this;
  route(action: number | Action, handler: RouteHandler<never, unknown>): this {
    const { hasReply, request, reply, action: number } = typeof action === 'number' ? plain(action) : action;
    checkAction('route action', number);
    if (number === this.#errorAction) throw invalid('route action', 'another action than that of error replies', number);
    checkFunction('route handler', handler);
    // The overloads hold the types of the codecs and of the handler together.
    this.#routes.set(number, { handler: handler as RouteHandler<unknown, unknown>, hasReply, request, reply });
    return this;
  }

  /** Adds middleware, for packets of unknown actions too; it counts from the next packet on. Throws INVALID_OPTION, past 63 as well. */
  use(...middleware: readonly Middleware[]): this {
    for (const each of middleware) checkFunction('use middleware', each);
    const chain = [...this.#chain, ...middleware];
    if (chain.length > MAX_MIDDLEWARE) throw invalid('use', `at most ${MAX_MIDDLEWARE} middleware`, chain.length);
    this.#chain = chain;
    return this;
  }

  /** Is called once for each packet of an unknown action. Unless it replies or aborts, the caller is told NOT_FOUND. */
  onNotFound(hook: (context: RouteContext) => void | Promise<void>): this {
    this.#onNotFound = checkFunction('onNotFound', hook);
    return this;
  }

  /**
   * Is called once for each request that failed: with the CallError, with an InvalidBodyError for a body that was refused, and
   * otherwise with a PorticoError whose `cause` is what was thrown. Unless it replies or aborts, the caller gets an error reply.
   * Without this hook all but CallErrors go to `onError` of the listener.
   */
  onError(hook: (context: RouteContext, error: PorticoError) => void): this {
    this.#onError = checkFunction('onError', hook);
    return this;
  }

  /** A listener for one endpoint or more, with one format for all its sessions. Throws INVALID_OPTION. */
  listener(options: ListenerOptions = {}): RouterListener {
    return new RouterListener(this, options);
  }

  /**
   * Sends a packet that nobody asked for, in the format of the session. Returns what `session.send` does. Throws StateError
   * WRONG_STATE for a session of no listener of this router, UNENCODABLE_BODY, and as `session.send`.
   */
  push<Value>(session: ActionSession, action: number | Action<Value, unknown>, value: Value, options: PushOptions = {}): boolean {
    return session.send(this.#listenerOf(session).packet(action, value, options.seq));
  }

  /** The same for many sessions, encoded once for each format. Throws for a value that cannot be encoded. */
  pushAll<Value>(
    sessions: Iterable<ActionSession>,
    action: number | Action<Value, unknown>,
    value: Value,
    options: PushOptions = {},
  ): PushResult {
    const packets = new Map<string, ActionPacket>();
    const result = { sent: 0, full: 0, refused: 0 };
    for (const session of sessions) {
      const listener = this.#listenerOf(session);
      const packet = packets.get(listener.format) ?? listener.packet(action, value, options.seq);
      packets.set(listener.format, packet);
      pushOne(session, packet, result);
    }
    return result;
  }

  #listenerOf(session: ActionSession): RouterListener {
    const listener = this.#listeners.get(session);
    if (listener === undefined) throw new StateError('WRONG_STATE', 'push: expected a session of one of the listeners of this router');
    return listener;
  }

  stats(): RouterStats {
    return { ...this.#stats };
  }

  // --- for its listeners ---

  routeOf(action: number): Route | undefined {
    return this.#routes.get(action);
  }

  opened(session: ActionSession, listener: RouterListener): void {
    this.#listeners.set(session, listener);
  }

  replied(): void {
    this.#stats.replies++;
  }

  /** One packet. Nothing is thrown, and the promise never rejects. */
  handle(context: RouteContext, route: Route | undefined): void | Promise<void> {
    try {
      const result: unknown = this.#chain.length === 0 ? this.#run(context, route) : this.#runChain(context, route);
      if (!isThenable(result)) return undefined;
      return Promise.resolve(result).then(
        () => {},
        (thrown: unknown) => this.#fail(context, route, thrown),
      );
    } catch (thrown) {
      this.#fail(context, route, thrown);
      return undefined;
    }
  }

  #runChain(context: RouteContext, route: Route | undefined): unknown {
    return new Way(context, this.#chain, () => this.#run(context, route)).run();
  }

  #run(context: RouteContext, route: Route | undefined): unknown {
    if (route === undefined) return this.#notFound(context);
    this.#stats.requests++;
    if (route.request !== undefined) context.decodeNow();
    const result = route.handler(context);
    if (isThenable(result)) return Promise.resolve(result).then((value) => this.#finish(context, route, value));
    this.#finish(context, route, result);
    return undefined;
  }

  #finish(context: RouteContext, route: Route, value: unknown): void {
    if (!route.hasReply || value === NO_REPLY || context.isReplied || context.isAborted) return;
    context.reply(value);
  }

  #notFound(context: RouteContext): unknown {
    const { session, action } = context;
    this.#stats.unknown++;
    if (this.#unknown?.isTooMany(session) === true) {
      this.#closeFlooder(context, this.#unknown);
      return undefined;
    }
    const result = this.#onNotFound?.(context);
    const refuse = (): void => this.#refuse(context, new CallError('NOT_FOUND', `There is no action ${action}.`));
    if (isThenable(result)) return Promise.resolve(result).then(refuse);
    refuse();
    return undefined;
  }

  #closeFlooder(context: RouteContext, { count, windowMs }: UnknownCounter): void {
    const { session } = context;
    const text = `${count} unknown actions within ${windowMs} ms`;
    this.#stats.flooders++;
    this.#refuse(context, new CallError('LIMITED', 'Too many unknown actions.'));
    void session.fail(new PeerError('RATE_EXCEEDED', text));
  }

  #fail(context: RouteContext, route: Route | undefined, thrown: unknown): void {
    this.#stats.failures++;
    const error = wrap(context, thrown);
    this.#tell(context, error);
    if (route?.hasReply !== false) this.#refuse(context, refusalFor(error));
  }

  /** Sends the error reply, if one is due. A peer that cannot be sent it finds out by the end of the session. */
  #refuse(context: RouteContext, refusal: CallError): void {
    if (this.#errorAction === false || context.isReplied || context.isAborted) return;
    // Nobody answers an answer: two routers that talk to each other would never end.
    if (context.action === this.#errorAction) return;
    try {
      context.replyPacket({ action: this.#errorAction, seq: context.seq, body: encodeRefusal(context.action, refusal) });
      this.#stats.errorReplies++;
    } catch (thrown) {
      // Its data may be what cannot be encoded or is too large.
      if (refusal.data !== undefined) this.#refuse(context, new CallError(refusal.reason, refusal.message));
      else context.session.logger.warn(`session ${context.session.id}: no error reply: ${oneLine(describeThrown(thrown))}`);
    }
  }

  #tell(context: RouteContext, error: PorticoError): void {
    const { session } = context;
    // A refusal that the program means is no failure.
    const isFailure = !(error instanceof CallError);
    if (isFailure) publish('sessionError', () => ({ session, error }));
    try {
      const hook = this.#onError;
      if (hook === undefined) {
        if (isFailure) this.#tellListener(session, error);
        return;
      }
      const result = hook(context, error);
      if (isThenable(result)) result.then(undefined, (thrown: unknown) => logHook(session, thrown));
    } catch (thrown) {
      logHook(session, thrown);
    }
  }

  #tellListener(session: ActionSession, error: PorticoError): void {
    const listener = this.#listeners.get(session);
    if (listener?.onError !== undefined) listener.onError(session, error);
    else session.logger.warn(`session ${session.id}: ${error.code}: ${oneLine(error.message)}`);
  }
}

function plain(action: number): Omit<Action, 'request' | 'reply'> & { request?: undefined; reply?: undefined } {
  return { action, hasReply: true };
}

function pushOne(session: ActionSession, packet: ActionPacket, result: { sent: number; full: number; refused: number }): void {
  try {
    const isBelowMark = session.send(packet);
    if (!isBelowMark && session.hasEnded) result.refused++;
    else result.sent++;
    if (!isBelowMark && !session.hasEnded) result.full++;
  } catch {
    result.refused++;
  }
}

function wrap({ action }: RouteContext, thrown: unknown): PorticoError {
  if (thrown instanceof PorticoError) return thrown;
  return new ListenerError('LISTENER_FAILED', 'message', `action ${action}: ${describeThrown(thrown)}`, { cause: thrown });
}

/** What a caller may know of a failure. */
function refusalFor(error: PorticoError): CallError {
  if (error instanceof CallError) return error;
  if (error instanceof InvalidBodyError) return new CallError('INVALID', 'The body was refused.', { issues: error.issues });
  return new CallError('INTERNAL', 'The request failed.');
}

function logHook({ id, logger }: ActionSession, thrown: unknown): void {
  logger.error(`session ${id}: a hook of the router failed: ${oneLine(describeThrown(thrown))}`);
}
