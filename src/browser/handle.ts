import { CallError } from '../base/call-error.ts';
import { isThenable } from '../base/thenable.ts';
import { encodeJson, encodeReply } from '../command/wire.ts';
import type { BytesLike } from '../protocol/body-codec.ts';
import type { BodyReceived, CallNames, Protocol, ReplySent } from '../protocol/protocol.ts';
import { toBytes } from '../protocol/raw.ts';
import type { BrowserClient } from './client.ts';
import type { CallKeeper, ClientCore } from './client-core.ts';
import { typeOf } from './commands.ts';

/** What a handler of a call knows besides the body. */
export interface CallContext {
  /** Aborted when the server wants no answer any more, or can get none. */
  readonly signal: AbortSignal;
}

/** Takes the payload of a call and returns that of the answer, now or later. */
type PayloadHandler = (payload: Uint8Array, context: CallContext) => Uint8Array | PromiseLike<Uint8Array>;

/** The calls of the server to one client, of which at most `maxCalls` run at once. */
interface IncomingCalls extends CallKeeper {
  readonly handlers: Map<number, PayloadHandler>;
}

function incomingCalls(core: ClientCore): IncomingCalls {
  const handlers = new Map<number, PayloadHandler>();
  const running = new Map<number, AbortController>();
  const refuse = (call: number, code: string, message = code, data?: unknown): void =>
    core.answer(encodeReply(call, 1, encodeJson({ code, message, data })));

  return {
    handlers,
    receive(call, id, payload) {
      const handler = handlers.get(id);
      if (!handler) return refuse(call, 'NOT_FOUND');
      if (running.size >= core.settings.maxCalls) return refuse(call, 'LIMITED');
      const controller = new AbortController();
      const { signal } = controller;
      running.set(call, controller);
      // False: the call was cancelled, and its number may be another one's now.
      const isWanted = (): boolean => running.get(call) === controller;
      new Promise<Uint8Array>((resolve) => resolve(handler(payload, { signal })))
        .then((bytes) => {
          if (isWanted()) core.answer(encodeReply(call, 0, bytes));
        })
        .catch((thrown: unknown) => {
          if (!isWanted()) return;
          if (thrown instanceof CallError) refuse(call, thrown.reason, thrown.message, thrown.data);
          else {
            refuse(call, 'INTERNAL');
            core.failed(thrown, id);
          }
        })
        .finally(() => isWanted() && running.delete(call));
    },
    cancel(call) {
      const controller = running.get(call);
      if (!controller) return;
      running.delete(call);
      refuse(call, 'ABORTED');
      controller.abort();
    },
    end(error) {
      const controllers = [...running.values()];
      running.clear();
      for (const controller of controllers) controller.abort(error);
    },
  };
}

/**
 * Answers calls of the server; one handler for each command, the later one takes over. What it throws as a `CallError` is told, of anything else only that it
 * failed. `signal` is aborted when nobody waits any more. Returns what takes it away. A function of its own, so that pages that are not called do not load it.
 *
 * @example
 * ```ts
 * import { createClient, handle } from 'portico/browser';
 *
 * const client = createClient({ url: 'wss://example.org/' });
 * handle(client, 4, () => 'a page');
 * void client.connect();
 * ```
 */
export function handle<P extends Protocol, Name extends CallNames<P>>(
  client: BrowserClient<P>,
  name: Name,
  fn: (body: BodyReceived<P, Name>, context: CallContext) => ReplySent<P, Name> | PromiseLike<ReplySent<P, Name>>,
): () => void;
export function handle<P extends Protocol>(
  client: BrowserClient<P>,
  id: number,
  fn: (payload: Uint8Array, context: CallContext) => BytesLike | PromiseLike<BytesLike>,
): () => void;
export function handle(
  { core }: Pick<BrowserClient, 'core'>,
  command: string | number,
  fn: (body: never, context: CallContext) => unknown,
): () => void {
  const { id, body, reply } = typeOf(core.commands, 'handle', command, 'call');
  const encode = (value: unknown): Uint8Array => (!reply ? toBytes(value as BytesLike) : reply.encode(value));
  const handler: PayloadHandler = (payload, context) => {
    // The overloads tie the body to the command.
    const result = fn((!body ? payload : body.decode(payload)) as never, context);
    return isThenable(result) ? result.then(encode) : encode(result);
  };
  core.incoming ??= incomingCalls(core);
  // Nobody else sets it.
  const { handlers } = core.incoming as IncomingCalls;
  handlers.set(id, handler);
  return () => void (handlers.get(id) === handler && handlers.delete(id));
}
