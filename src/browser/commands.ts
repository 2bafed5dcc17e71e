import { checkInteger } from '../base/option.ts';
import type { BytesLike } from '../protocol/body-codec.ts';
import { type MessageType, messageNamed, type Protocol } from '../protocol/protocol.ts';
import { toBytes } from '../protocol/raw.ts';
import { Listeners } from './listeners.ts';

/** What a command is: its id, and with a protocol all that it says. */
export type CommandType = { readonly id: number } & Partial<MessageType>;

/** Names and numbers, bodies and bytes: by name through the codecs of the protocol, by number as they are. */
export interface Commands {
  readonly protocol: Protocol | undefined;
  /** The highest id that a program may use. */
  readonly maxId: number;
}

/** Throws INVALID_OPTION for a name that is none, or is none of a message of this kind, and for a number that is no application's id. */
export function typeOf({ protocol, maxId }: Commands, method: string, command: string | number, kind?: MessageType['kind']): CommandType {
  if (typeof command === 'string' && protocol) return messageNamed(protocol, command, method, kind && [kind]);
  return { id: checkInteger(`${method} id`, command as number, 0, maxId) };
}

/** The payload of a body. Throws UNENCODABLE_BODY. */
export function encodeBody({ body }: Partial<MessageType>, value: unknown): Uint8Array {
  // Without a codec the signature of the caller takes bytes alone; what is none is refused there.
  return !body ? toBytes((value ?? '') as BytesLike) : body.encode(value);
}

/** The key of the handlers for all messages; no name of a protocol is like it. */
export const ANY = '*';

/** The handlers of messages, those of the client or of one room. */
export class MessageHandlers extends Listeners<string | number> {
  readonly #commands: Commands;
  readonly #onFailure: (thrown: unknown, command: string | number) => void;

  constructor(commands: Commands, onFailure: (thrown: unknown, command: string | number) => void) {
    super(onFailure);
    this.#commands = commands;
    this.#onFailure = onFailure;
  }

  /** As `on`, for a command, which is checked. */
  handle(command: string | number, fn: (body: never) => unknown, isOnce?: boolean): () => void {
    typeOf(this.#commands, 'on', command);
    return this.on(command, fn, isOnce);
  }

  /** False when nobody listens to it. */
  dispatch(id: number, payload: Uint8Array): boolean {
    const { name = id, body } = this.#commands.protocol?.byId.get(id) ?? {};
    const isTaken = this.emit(id, payload);
    const isNamed = name !== id && this.has(name);
    if (!isNamed && !this.has(ANY)) return isTaken;
    try {
      const value = !body ? payload : body.decode(payload);
      if (isNamed) this.emit(name, value);
      this.emit(ANY, name, value);
    } catch (thrown) {
      this.#onFailure(thrown, name);
    }
    return true;
  }
}
