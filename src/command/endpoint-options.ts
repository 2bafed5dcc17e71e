import type { Option } from '../base/option.ts';
import type { EventListenerLike } from '../session/event-listener.ts';
import { type SessionOptions, withEventListener, withMaxPackageBytes, withPkgHandler, withSendQueue } from '../session/options.ts';
import { type CommandMessage, HEADER_BYTES } from './command-handler.ts';
import type { CommandHub } from './hub.ts';
import { COMMAND_SUBPROTOCOL } from './wire.ts';

type Listener = EventListenerLike<CommandMessage>;
type CommandSessionOptions = {
  -readonly [Key in keyof SessionOptions<CommandMessage, CommandMessage>]: SessionOptions<CommandMessage, CommandMessage>[Key];
};

/** For WebSocket endpoints besides: fields that only they have. */
type WsFields = CommandSessionOptions & { subprotocols: unknown; textPolicy: unknown; maxFragments: unknown };

/** Room in the send queue for some messages besides the largest one. */
const QUEUE_BYTES = 4_194_304;
const MIN_FRAGMENTS = 1_024;
const FRAGMENT_BYTES = 1_024;

interface Hub {
  readonly codec: CommandHub['codec'];
  readonly settings: CommandHub['settings'];
}

/**
 * The options of an endpoint whose sessions a hub takes: framing, listener and limits, for a server over any transport. `listener` is what the
 * hub was wrapped in, such as `rateLimit(hub, …)`. For WebSocket see `commandWsOptions`.
 */
export function commandOptions(hub: Hub & Listener, listener: Listener = hub): Option<CommandSessionOptions> {
  const { maxPayloadBytes } = hub.settings;
  const options: readonly Option<CommandSessionOptions>[] = [
    withPkgHandler<CommandMessage, CommandMessage>(hub.codec),
    withEventListener<CommandMessage, CommandMessage>(listener),
    withMaxPackageBytes(maxPayloadBytes + HEADER_BYTES),
    withSendQueue(Math.max(QUEUE_BYTES, maxPayloadBytes + QUEUE_BYTES)),
  ];
  return (target) => {
    for (const option of options) option(target);
  };
}

/**
 * As `commandOptions`, for servers over WebSocket: also the choice of the profile, what happens to text messages, and fragments enough for
 * the largest message in pieces of 1 KiB.
 */
export function commandWsOptions(hub: Hub & Listener, listener: Listener = hub): Option<WsFields> {
  const options = commandOptions(hub, listener);
  const { native, textPolicy, maxPayloadBytes } = hub.settings;
  return (target) => {
    options(target);
    // A message has no size in front: one byte more than fits is refused by its frame's header.
    target.maxPackageBytes = maxPayloadBytes + HEADER_BYTES / 2;
    if (native) target.subprotocols = [COMMAND_SUBPROTOCOL];
    target.textPolicy = textPolicy;
    // Clients that fill a small buffer cut the largest message into many.
    target.maxFragments = Math.max(MIN_FRAGMENTS, Math.ceil((maxPayloadBytes + HEADER_BYTES) / FRAGMENT_BYTES) + 1);
  };
}
