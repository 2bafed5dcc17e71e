import { invalid } from '../base/option.ts';
import { decodeJson, encodeJson, encodeRoom, isRoomName, JOIN_ID, LEAVE_ID, type Presence, STATE_ID } from '../command/wire.ts';
import type { BytesLike } from '../protocol/body-codec.ts';
import type { BodyReceived, BodySent, MessageNames, Protocol } from '../protocol/protocol.ts';
import { ask } from './ask.ts';
import type { ClientCore } from './client-core.ts';
import { ANY, encodeBody, MessageHandlers, typeOf } from './commands.ts';

/** What changed in a room. `members` is everybody who is in it now. */
export interface PresenceChange {
  readonly joined: ReadonlyMap<string, unknown>;
  readonly left: readonly string[];
  readonly members: ReadonlyMap<string, unknown>;
}

/** Keys of handlers that are no names of a protocol. */
const PRESENCE = '#presence';
const LOST = '#lost';

/** One room that the client is in, or may join. The same object for the whole life of the client: handlers stay when it joins again. */
export class Room<P extends Protocol = Protocol> {
  readonly name: string;
  readonly #core: ClientCore;
  readonly #handlers: MessageHandlers;
  #members: ReadonlyMap<string, unknown> = new Map();
  #state: unknown;
  /** Whether the client wants to be in it: it is joined again after every reconnect. */
  #isWanted = false;
  #isJoined = false;

  constructor(name: string, core: ClientCore) {
    if (!isRoomName(name)) throw invalid('room', 'a name of 1 to 128 bytes', name);
    this.name = name;
    this.#core = core;
    this.#handlers = new MessageHandlers(core.commands, core.failed);
  }

  /** The server has let the client in. */
  get isJoined(): boolean {
    return this.#isJoined;
  }

  /** Client id → presence state, where the room tells it. */
  get members(): ReadonlyMap<string, unknown> {
    return this.#members;
  }

  /** Asks to be let in, with a presence state that the others see. Rejects with CALL_FAILED when the server refuses. */
  async join(state?: unknown): Promise<ReadonlyMap<string, unknown>> {
    const asked = this.#ask(JOIN_ID, state);
    this.#isWanted = true;
    try {
      const { members }: { members?: unknown } = Object(decodeJson(await asked));
      if (!this.#isWanted) return this.#members;
      this.#isJoined = true;
      if (members instanceof Object) this.#change({ all: { ...members } });
    } catch (thrown) {
      this.#isWanted = this.#isJoined;
      throw thrown;
    }
    return this.#members;
  }

  async leave(): Promise<void> {
    this.lost();
    await this.#ask(LEAVE_ID);
  }

  /** Changes what the others see of this client. */
  async setState(state: unknown): Promise<void> {
    await this.#ask(STATE_ID, state);
  }

  /** For the other members, if the server allows it. As `send` of the client. */
  send<Name extends MessageNames<P>>(name: Name, body: BodySent<P, Name>): boolean;
  send(id: number, body?: BytesLike): boolean;
  send(command: string | number, body?: unknown): boolean {
    const type = typeOf(this.#core.commands, 'send', command, 'message');
    return this.#core.send(encodeRoom(this.name, type.id, encodeBody(type, body)));
  }

  /** A handler for messages of this room. Returns what takes it away. */
  on<Name extends MessageNames<P>>(name: Name, fn: (body: BodyReceived<P, Name>) => unknown): () => void;
  on(id: number, fn: (payload: Uint8Array) => unknown): () => void;
  on(command: string | number, fn: (body: never) => unknown): () => void {
    return this.#handlers.handle(command, fn);
  }

  onAny(fn: (command: string | number, body: unknown) => unknown): () => void {
    return this.#handlers.on(ANY, fn);
  }

  onPresence(fn: (change: PresenceChange) => unknown): () => void {
    return this.#handlers.on(PRESENCE, fn);
  }

  /** The client came back as a new one, and the server did not let it in again; or the client is closed. */
  onLost(fn: () => unknown): () => void {
    return this.#handlers.on(LOST, fn);
  }

  // --- for the client ---

  /** What HELLO says of it. */
  get wanted(): { readonly name: string; readonly state?: unknown } | undefined {
    return this.#isWanted && this.#isJoined ? { name: this.name, state: this.#state } : undefined;
  }

  dispatch(id: number, payload: Uint8Array): void {
    this.#handlers.dispatch(id, payload);
  }

  presence(presence: Presence): void {
    if (this.#isWanted) this.#change(presence);
  }

  /** The client is not in it any more. */
  lost(isTold = false): void {
    this.#isWanted = this.#isJoined = false;
    this.#change({ all: {} });
    if (isTold) this.#handlers.emit(LOST);
  }

  /** What is not JSON is refused before it is remembered for the next session. */
  async #ask(id: number, state?: unknown): Promise<Uint8Array> {
    const payload = encodeJson({ room: this.name, state });
    if (id !== LEAVE_ID) this.#state = state;
    return ask(this.#core, id, payload);
  }

  /** `all` replaces what was known. The difference is told. */
  #change({ all, joined, left = [] }: Omit<Presence, 'room'>): void {
    const before = this.#members;
    const members = new Map(all === undefined ? before : []);
    for (const id of left) members.delete(id);
    for (const [id, state] of Object.entries(all ?? joined ?? {})) members.set(id, state);
    const come = new Map<string, unknown>();
    for (const [id, state] of members) {
      const old = before.get(id);
      if (!before.has(id) || (old !== state && JSON.stringify(old) !== JSON.stringify(state))) come.set(id, state);
    }
    const gone = [...before.keys()].filter((id) => !members.has(id));
    this.#members = members;
    if (come.size > 0 || gone.length > 0) this.#handlers.emit(PRESENCE, { joined: come, left: gone, members });
  }
}
