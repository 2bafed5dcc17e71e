import type { PorticoError } from '../../src/base/errors.ts';
import type { Logger } from '../../src/base/log.ts';
import type { CloseReason } from '../../src/session/close-reason.ts';
import type { EventListenerLike } from '../../src/session/event-listener.ts';
import type { Session } from '../../src/session/session.ts';

/** How long a test waits for something that must happen; nothing waits that long unless it fails. */
const PATIENCE_MS = 4_000;

/** Turns the event loop until the condition holds. */
export async function eventually(condition: () => boolean, what: string): Promise<void> {
  const start = performance.now();
  while (!condition()) {
    if (performance.now() - start > PATIENCE_MS) throw new Error(`waited in vain until ${what}`);
    await turn();
  }
}

/** One turn of the event loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Enough turns for whatever was begun without time passing; for showing that something does not happen. */
export async function settle(turns = 20): Promise<void> {
  for (let count = 0; count < turns; count++) await turn();
}

/** A promise that the test settles. */
export class Deferred<T = void> {
  readonly promise: Promise<T>;
  resolve: (value: T | PromiseLike<T>) => void = () => {};
  reject: (reason: unknown) => void = () => {};

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}

/** The error that a call throws or rejects with, as its code; other things as text. */
export async function codeOf(call: () => unknown): Promise<string> {
  try {
    await call();
    return 'no error';
  } catch (thrown) {
    return thrown instanceof Error && 'code' in thrown ? String(thrown.code) : String(thrown);
  }
}

/** A listener that writes down what happens, and does what its hooks say besides. */
export class Recorder<In, Out = In> implements EventListenerLike<In, Out> {
  /** The names of what happened, in order: 'open', 'message', 'cron', 'drain', 'end', 'error', 'close'. */
  readonly events: string[] = [];
  readonly sessions: Session<In, Out>[] = [];
  readonly packages: In[] = [];
  readonly errors: PorticoError[] = [];
  readonly reasons: CloseReason[] = [];
  readonly #hooks: Partial<EventListenerLike<In, Out>>;

  constructor(hooks: Partial<EventListenerLike<In, Out>> = {}) {
    this.#hooks = hooks;
  }

  count(event: string): number {
    return this.events.filter((name) => name === event).length;
  }

  /** Waits for so many of these events. */
  async until(event: string, count = 1): Promise<void> {
    await eventually(() => this.count(event) >= count, `${event} has come ${count} time(s), after ${this.events.slice(-20).join(' ')}`);
  }

  /** The session opened as number `index`. */
  async session(index = 0): Promise<Session<In, Out>> {
    await eventually(() => this.sessions.length > index, `${index + 1} session(s) are open`);
    const session = this.sessions[index];
    if (session === undefined) throw new Error(`no session ${index}`);
    return session;
  }

  onOpen(session: Session<In, Out>): void | Promise<void> {
    this.events.push('open');
    this.sessions.push(session);
    return this.#hooks.onOpen?.(session);
  }

  onMessage(session: Session<In, Out>, pkg: In): void | Promise<void> {
    this.events.push('message');
    this.packages.push(pkg);
    return this.#hooks.onMessage?.(session, pkg);
  }

  onCron(session: Session<In, Out>): void | Promise<void> {
    this.events.push('cron');
    return this.#hooks.onCron?.(session);
  }

  onDrain(session: Session<In, Out>): void | Promise<void> {
    this.events.push('drain');
    return this.#hooks.onDrain?.(session);
  }

  onEnd(session: Session<In, Out>): void | Promise<void> {
    this.events.push('end');
    return this.#hooks.onEnd?.(session);
  }

  onError(session: Session<In, Out>, error: PorticoError): void | Promise<void> {
    this.events.push('error');
    this.errors.push(error);
    // An async function is taken where one without a result is asked for.
    return this.#hooks.onError?.(session, error);
  }

  onClose(session: Session<In, Out>, reason: CloseReason): void | Promise<void> {
    this.events.push('close');
    this.reasons.push(reason);
    return this.#hooks.onClose?.(session, reason);
  }
}

/** Keeps what was logged. */
export class LogRecorder implements Logger {
  readonly warnings: string[] = [];
  readonly errors: string[] = [];

  warn(message: string): void {
    this.warnings.push(message);
  }

  error(message: string): void {
    this.errors.push(message);
  }
}
