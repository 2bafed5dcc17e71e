import { invalid } from '../base/option.ts';
import { COMMAND_ID, decodeJson, encodeJson, encodeRoom, isRoomName, type Presence } from '../command/wire.ts';
import type { BytesLike } from '../protocol/body-codec.ts';
import type { BodyReceived, BodySent, MessageNames, Protocol } from '../protocol/protocol.ts';
import { type Commands, encodeBody, MessageHandlers } from './commands.ts';
import { Listeners } from './listeners.ts';

export interface RoomHost {
  readonly commands: Commands;
  call(id: number, payload: Uint8Array): Promise<Uint8Array>;
  onFailure(thrown: unknown, command: string | number): void;
}

/** What changed in a room. `members` is everybody who is in it now. */
export interface PresenceChange {
  readonly joined: ReadonlyMap<string, unknown>;
  readonly left: readonly string[];
  readonly members: ReadonlyMap<string, unknown>;
}

/** One room that the client is in, or may join. The same object for the whole life of the client: handlers stay when it joins again. */
export class Room<P extends Protocol = Protocol> {
  readonly name: string;
  readonly #host: RoomHost;
  readonly #send: (payload: Uint8Array) => boolean;
  readonly #handlers: MessageHandlers;
  readonly #presence: Listeners<'change', [PresenceChange]>;
  readonly #lost: Listeners<'lost', []>;
  #members = new Map<string, unknown>();
  #state: unknown;
  /** Whether the client wants to be in it: it is joined again after every reconnect. */
  #isWanted = false;
  #isJoined = false;

  constructor(name: string, host: RoomHost, send: (payload: Uint8Array) => boolean) {
    if (!isRoomName(name)) throw invalid('room', 'a name of 1 to 128 bytes', name);
    this.name = name;
    this.#host = host;
    this.#send = send;
    this.#handlers = new MessageHandlers(host.commands, (thrown, command) => host.onFailure(thrown, command));
    const onFailure = (thrown: unknown): void => host.onFailure(thrown, `room ${name}`);
    this.#presence = new Listeners(onFailure);
    this.#lost = new Listeners(onFailure);
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
    this.#state = state;
    this.#isWanted = true;
    try {
      const answer = decodeJson(await this.#ask(COMMAND_ID.JOIN, state));
      if (!this.#isWanted) return this.#members;
      this.#isJoined = true;
      if (hasMembers(answer)) this.#change({ room: this.name, all: answer.members });
    } catch (thrown) {
      if (!this.#isJoined) this.#isWanted = false;
      throw thrown;
    }
    return this.#members;
  }

  async leave(): Promise<void> {
    this.lost();
    await this.#ask(COMMAND_ID.LEAVE);
  }

  /** Changes what the others see of this client. */
  async setState(state: unknown): Promise<void> {
    this.#state = state;
    await this.#ask(COMMAND_ID.STATE, state);
  }

  /** For the other members, if the server allows it. As `send` of the client. */
  send<Name extends MessageNames<P>>(name: Name, body: BodySent<P, Name>): boolean;
  send(id: number, body?: BytesLike): boolean;
  send(command: string | number, body?: unknown): boolean {
    const type = this.#host.commands.typeOf('send', command, 'message');
    return this.#send(encodeRoom(this.name, type.id, encodeBody(type, body)).subarray(4));
  }

  /** A handler for messages of this room. Returns what takes it away. */
  on<Name extends MessageNames<P>>(name: Name, fn: (body: BodyReceived<P, Name>) => unknown): () => void;
  on(id: number, fn: (payload: Uint8Array) => unknown): () => void;
  on(command: string | number, fn: (body: never) => unknown): () => void {
    return this.#handlers.add(command, fn);
  }

  onAny(fn: (command: string | number, body: unknown) => unknown): () => void {
    return this.#handlers.addAny(fn);
  }

  onPresence(fn: (change: PresenceChange) => unknown): () => void {
    return this.#presence.add('change', fn);
  }

  /** The client came back as a new one, and the server did not let it in again; or the client is closed. */
  onLost(fn: () => unknown): () => void {
    return this.#lost.add('lost', fn);
  }

  // --- for the client ---

  /** What HELLO says of it. */
  get wanted(): { readonly name: string; readonly state?: unknown } | undefined {
    if (!this.#isWanted || !this.#isJoined) return undefined;
    return this.#state === undefined ? { name: this.name } : { name: this.name, state: this.#state };
  }

  dispatch(id: number, payload: Uint8Array): boolean {
    return this.#handlers.dispatch(id, payload);
  }

  presence(presence: Presence): void {
    if (this.#isWanted) this.#change(presence);
  }

  /** The client is not in it any more. */
  lost(isTold = false): void {
    this.#isWanted = false;
    this.#isJoined = false;
    this.#change({ room: this.name, all: {} });
    if (isTold) this.#lost.emit('lost');
  }

  #ask(id: number, state?: unknown): Promise<Uint8Array> {
    return this.#host.call(id, encodeJson(state === undefined ? { room: this.name } : { room: this.name, state }));
  }

  /** `all` replaces what was known: what it says is told as the difference. */
  #change({ all, joined = {}, left = [] }: Presence): void {
    const members = new Map(all === undefined ? this.#members : Object.entries(all));
    const gone = all === undefined ? left.filter((id) => members.delete(id)) : [...this.#members.keys()].filter((id) => !members.has(id));
    const come = new Map<string, unknown>();
    for (const [id, state] of Object.entries(all ?? joined)) {
      if (all === undefined || !this.#members.has(id) || JSON.stringify(this.#members.get(id)) !== JSON.stringify(state))
        come.set(id, state);
      members.set(id, state);
    }
    this.#members = members;
    if (come.size > 0 || gone.length > 0) this.#presence.emit('change', { joined: come, left: gone, members });
  }
}

function hasMembers(answer: unknown): answer is { readonly members: Record<string, unknown> } {
  return (
    typeof answer === 'object' && answer !== null && 'members' in answer && typeof answer.members === 'object' && answer.members !== null
  );
}
