import { checkFunction, invalid } from '../base/option.ts';
import { type MessageType, messageNamed, type Protocol } from '../protocol/protocol.ts';
import type { Client } from './client.ts';
import { COMMAND_ID, isFreeId } from './wire.ts';

/** A handler, when nothing is known of what it takes. */
export type AnyHandler = (client: Client, body: unknown) => unknown;
export type AnyCatchAll = (client: Client, id: number, payload: Uint8Array) => unknown;
export type AnyServe = (client: Client, body: unknown, context: CallContext) => unknown;

/** What a handler of calls may know besides the body. */
export interface CallContext {
  /** Aborted when the caller cancels, the time for the answer is over, or the client is. */
  readonly signal: AbortSignal;
}

/** Its `type` decodes the body; without one it gets bytes. */
export interface Handler {
  readonly call: AnyHandler;
  readonly type: MessageType | undefined;
  readonly isOnce: boolean;
}

/** Answers the calls of one command. */
export interface Served {
  readonly call: AnyServe;
  readonly type: MessageType | undefined;
}

/** What a program may give as a command: a name of the protocol, or a number. */
export type Command = string | number;

const MAX_ID = 0xffff_ffff;

/** Who handles which command: found by number, in one look-up for each message. */
export class Handlers {
  readonly #protocol: Protocol | undefined;
  readonly #isKnetOnly: boolean;
  readonly #handlers = new Map<number, readonly Handler[]>();
  readonly #served = new Map<number, Served>();
  /** For commands without handlers of their own. */
  catchAll: readonly AnyCatchAll[] = [];

  constructor(protocol: Protocol | undefined, isKnetOnly: boolean) {
    this.#protocol = protocol;
    this.#isKnetOnly = isKnetOnly;
  }

  /** Checks a command and finds its type; a number has none, whatever the protocol says of it. */
  resolve(
    method: string,
    command: Command,
    kinds?: readonly MessageType['kind'][],
  ): { readonly id: number; readonly type: MessageType | undefined } {
    if (typeof command === 'string') {
      if (this.#protocol === undefined) throw invalid(method, 'a number, because the hub was given no protocol', command);
      const type = messageNamed(this.#protocol, command, method, kinds);
      return { id: type.id, type };
    }
    if (!(Number.isInteger(command) && command >= 0 && command <= MAX_ID)) throw invalid(method, `an id from 0 to ${MAX_ID}`, command);
    const isFree = this.#isKnetOnly ? command < COMMAND_ID.RPC_ERROR : isFreeId(command);
    if (!isFree) throw invalid(method, 'an id that the protocol does not reserve', command);
    return { id: command, type: undefined };
  }

  add(method: string, command: Command, call: AnyHandler, isOnce: boolean): () => void {
    checkFunction(method, call);
    const { id, type } = this.resolve(method, command, ['message']);
    const handler: Handler = { call, type, isOnce };
    // A new list each time: the old one may be in use.
    this.#handlers.set(id, [...(this.#handlers.get(id) ?? []), handler]);
    return () => this.remove(id, handler);
  }

  /** A second removal does nothing. */
  remove(id: number, handler: Handler): void {
    const left = this.#handlers.get(id)?.filter((other) => other !== handler);
    if (left === undefined || left.length === 0) this.#handlers.delete(id);
    else this.#handlers.set(id, left);
  }

  addCatchAll(call: AnyCatchAll): () => void {
    checkFunction('CommandHub.onAny', call);
    // The same function given twice is called twice, and taken back once at a time.
    const own: AnyCatchAll = (client, id, payload) => call(client, id, payload);
    this.catchAll = [...this.catchAll, own];
    return () => {
      this.catchAll = this.catchAll.filter((other) => other !== own);
    };
  }

  serve(command: Command, call: AnyServe): () => void {
    checkFunction('CommandHub.handle', call);
    const { id, type } = this.resolve('CommandHub.handle', command, ['call', 'stream']);
    if (this.#served.has(id)) throw invalid('CommandHub.handle', 'a command that nothing answers yet', command);
    return this.serveReserved(id, { call, type });
  }

  serveReserved(id: number, served: Served): () => void {
    this.#served.set(id, served);
    return () => {
      if (this.#served.get(id) === served) this.#served.delete(id);
    };
  }

  of(id: number): readonly Handler[] | undefined {
    return this.#handlers.get(id);
  }

  servedAs(id: number): Served | undefined {
    return this.#served.get(id);
  }
}
