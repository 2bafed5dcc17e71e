import { checkInteger } from '../base/option.ts';
import type { BytesLike } from '../protocol/body-codec.ts';
import { type MessageType, messageNamed, type Protocol } from '../protocol/protocol.ts';
import { toBytes } from '../protocol/raw.ts';
import { Listeners } from './listeners.ts';

/** Names and numbers, bodies and bytes: by name through the codecs of the protocol, by number as they are. */
export class Commands {
  readonly #protocol: Protocol | undefined;
  readonly #maxId: number;

  constructor(protocol: Protocol | undefined, firstReservedId: number) {
    this.#protocol = protocol;
    this.#maxId = firstReservedId - 1;
  }

  /** Throws INVALID_OPTION for a name that is none, or is none of a message of these kinds, and for a number that is no application's id. */
  typeOf(method: string, command: string | number, ...kinds: MessageType['kind'][]): { readonly id: number } & Partial<MessageType> {
    if (typeof command === 'string' && this.#protocol !== undefined) return messageNamed(this.#protocol, command, method, kinds);
    return { id: checkInteger(`${method} id`, command as number, 0, this.#maxId) };
  }

  byId(id: number): MessageType | undefined {
    return this.#protocol?.byId.get(id);
  }
}

/** The payload of a body. Throws UNENCODABLE_BODY. */
export function encodeBody({ body }: Partial<MessageType>, value: unknown): Uint8Array {
  // Without a codec the signature of the caller takes bytes alone; what is none is refused there.
  return body === undefined ? toBytes((value ?? '') as BytesLike) : body.encode(value);
}

/** The handlers of messages, those of the client or of one room. */
export class MessageHandlers {
  readonly #commands: Commands;
  readonly #byCommand: Listeners<string | number, [unknown]>;
  readonly #any: Listeners<'*', [string | number, unknown]>;
  readonly #onFailure: (thrown: unknown, command: string | number) => void;

  constructor(commands: Commands, onFailure: (thrown: unknown, command: string | number) => void) {
    this.#commands = commands;
    this.#onFailure = onFailure;
    this.#byCommand = new Listeners(onFailure);
    this.#any = new Listeners((thrown) => onFailure(thrown, '*'));
  }

  add(command: string | number, fn: (body: never) => unknown, isOnce?: boolean): () => void {
    this.#commands.typeOf('on', command, 'message', 'call', 'stream');
    // The overloads of the caller tie the type of the body to the command.
    return this.#byCommand.add(command, fn as (body: unknown) => unknown, isOnce);
  }

  remove(command: string | number, fn?: unknown): void {
    this.#byCommand.remove(command, fn);
  }

  addAny(fn: (command: string | number, body: unknown) => unknown): () => void {
    return this.#any.add('*', fn);
  }

  /** False when nobody listens to it. */
  dispatch(id: number, payload: Uint8Array): boolean {
    const type = this.#commands.byId(id);
    const isTaken = this.#byCommand.emit(id, payload);
    const isNamed = type !== undefined && this.#byCommand.has(type.name);
    if (!isNamed && !this.#any.has('*')) return isTaken;
    let body: unknown = payload;
    try {
      body = type === undefined ? payload : type.body.decode(payload);
    } catch (thrown) {
      this.#onFailure(thrown, type?.name ?? id);
      return true;
    }
    if (isNamed) this.#byCommand.emit(type.name, body);
    this.#any.emit('*', type?.name ?? id, body);
    return true;
  }
}
