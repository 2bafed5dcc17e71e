import type { BodyCodec } from '../protocol/body-codec.ts';
import { type Action, type CodecChoice, type Codecs, checkFormat, codecFor, encodeWith } from './action.ts';
import { type ActionPacket, checkAction } from './action-packet.ts';
import { checkHooks, HookedListener, type SessionHooks } from './hooked-listener.ts';
import { type ActionSession, type ContextSource, RouteContext } from './route-context.ts';

/** An action as a router keeps it. */
export interface Route {
  readonly handler: (context: RouteContext) => unknown;
  readonly hasReply: boolean;
  readonly request: CodecChoice<never, unknown> | undefined;
  readonly reply: CodecChoice<unknown, unknown> | undefined;
}

/** A router, as its listeners see it. */
export interface RouterSide {
  readonly codecs: Codecs;
  routeOf(action: number): Route | undefined;
  opened(session: ActionSession, listener: RouterListener): void;
  replied(): void;
  push(session: ActionSession, action: number | Action<unknown>, value: unknown): boolean;
  handle(context: RouteContext, route: Route | undefined): void | Promise<void>;
}

export interface ListenerOptions extends SessionHooks {
  /** Which codecs of the actions and of the router are used. Default 'json'. */
  readonly format?: string;
}

/**
 * The EventListener of a router, in one format; the options' hooks get the other events of its sessions. Made by `router.listener()`.
 */
export class RouterListener extends HookedListener {
  readonly format: string;
  readonly #router: RouterSide;
  /** Not more than there are routes. */
  readonly #bindings = new Map<number, Binding>();
  readonly #unbound: Binding;

  constructor(router: RouterSide, options: ListenerOptions) {
    super(checkHooks('listener', options));
    this.#router = router;
    this.format = checkFormat('listener format', options.format ?? 'json');
    this.#unbound = new Binding(router, this.format, undefined);
  }

  override onOpen(session: ActionSession): void | Promise<void> {
    this.#router.opened(session, this);
    return super.onOpen(session);
  }

  onMessage(session: ActionSession, packet: ActionPacket): void | Promise<void> {
    const route = this.#router.routeOf(packet.action);
    const source = route === undefined ? this.#unbound : this.#bindingOf(packet.action, route);
    return this.#router.handle(new RouteContext(session, packet, source), route);
  }

  #bindingOf(action: number, route: Route): Binding {
    let binding = this.#bindings.get(action);
    if (binding?.route !== route) {
      binding = new Binding(this.#router, this.format, route);
      this.#bindings.set(action, binding);
    }
    return binding;
  }

  /**
   * A packet in this listener's format, for `server.broadcast` and the like. Throws INVALID_OPTION and MISSING_OPTION, and
   * UNENCODABLE_BODY.
   */
  packet<Value>(action: number | Action<Value, unknown>, value: Value, seq = 0): ActionPacket {
    return encodeRequest(this.#router.codecs, this.format, action, value, seq);
  }
}

/** A packet that begins an exchange, or is all of it. */
export function encodeRequest<Value>(
  codecs: Codecs,
  format: string,
  action: number | Action<Value, unknown>,
  value: Value,
  seq: number,
): ActionPacket {
  const number = typeof action === 'number' ? checkAction('action', action) : action.action;
  const choice = typeof action === 'number' ? undefined : action.request;
  return { action: number, seq, body: encodeWith(codecFor(choice, codecs, format, number), value) };
}

/** An action in a format: its codecs, looked up when they are first needed. */
class Binding implements ContextSource {
  readonly format: string;
  readonly route: Route | undefined;
  readonly #router: RouterSide;
  #request: BodyCodec<never, unknown> | undefined;
  #reply: BodyCodec<unknown> | undefined;

  constructor(router: RouterSide, format: string, route: Route | undefined) {
    this.#router = router;
    this.format = format;
    this.route = route;
  }

  decode({ action, body }: ActionPacket): unknown {
    this.#request ??= codecFor(this.route?.request, this.#router.codecs, this.format, action);
    return this.#request.decode(body);
  }

  encodeReply({ action, seq }: ActionPacket, value: unknown): ActionPacket {
    this.#reply ??= codecFor(this.route?.reply, this.#router.codecs, this.format, action);
    return { action, seq, body: encodeWith(this.#reply, value) };
  }

  replied(): void {
    this.#router.replied();
  }

  push(session: ActionSession, action: number | Action<unknown>, value: unknown): boolean {
    return this.#router.push(session, action, value);
  }
}
