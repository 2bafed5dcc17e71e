import type { PorticoError } from '../base/errors.ts';
import { checkFunction, invalid } from '../base/option.ts';
import type { CloseReason } from '../session/close-reason.ts';
import type { EventListenerLike } from '../session/event-listener.ts';
import type { ActionPacket } from './action-packet.ts';
import type { ActionSession } from './route-context.ts';

/** The events of a session that are not packets, as an EventListener has them. */
export type SessionHooks = Omit<EventListenerLike<ActionPacket>, 'onMessage'>;

const NAMES = ['onOpen', 'onCron', 'onDrain', 'onEnd', 'onError', 'onClose'] as const satisfies readonly (keyof SessionHooks)[];

export function checkHooks(name: string, hooks: SessionHooks): SessionHooks {
  if (typeof hooks !== 'object' || hooks === null) throw invalid(name, 'an object', hooks);
  for (const hook of NAMES) if (hooks[hook] !== undefined) checkFunction(`${name} ${hook}`, hooks[hook]);
  return hooks;
}

/**
 * A listener that hands the events of its sessions on to hooks. Those that the program left out are missing here too, so that a
 * session spares the work for them.
 */
export abstract class HookedListener implements EventListenerLike<ActionPacket> {
  declare readonly onCron?: (session: ActionSession) => void | Promise<void>;
  declare readonly onDrain?: (session: ActionSession) => void | Promise<void>;
  declare readonly onEnd?: (session: ActionSession) => void | Promise<void>;
  declare readonly onError?: (session: ActionSession, error: PorticoError) => void;
  readonly #hooks: SessionHooks;

  protected constructor(hooks: SessionHooks) {
    this.#hooks = hooks;
    if (hooks.onCron !== undefined) this.onCron = (session) => hooks.onCron?.(session);
    if (hooks.onDrain !== undefined) this.onDrain = (session) => hooks.onDrain?.(session);
    if (hooks.onEnd !== undefined) this.onEnd = (session) => hooks.onEnd?.(session);
    if (hooks.onError !== undefined) this.onError = (session, error) => hooks.onError?.(session, error);
  }

  abstract onMessage(session: ActionSession, packet: ActionPacket): void | Promise<void>;

  onOpen(session: ActionSession): void | Promise<void> {
    return this.#hooks.onOpen?.(session);
  }

  onClose(session: ActionSession, reason: CloseReason): void | Promise<void> {
    return this.#hooks.onClose?.(session, reason);
  }
}
