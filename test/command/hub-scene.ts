import type { CommandMessage } from '../../src/command/command-handler.ts';
import { CommandHandler } from '../../src/command/command-handler.ts';
import { commandOptions } from '../../src/command/endpoint-options.ts';
import { CommandHub } from '../../src/command/hub.ts';
import type { CommandHubOptions } from '../../src/command/hub-options.ts';
import type { Server } from '../../src/endpoint/server.ts';
import type { Protocol } from '../../src/protocol/protocol.ts';
import type { Session } from '../../src/session/session.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { Recorder } from '../helpers/session-recorder.ts';
import { NativeClient } from './native-client.ts';

/** A hub behind a memory server, and its clients. */
export interface HubScene<P extends Protocol> {
  readonly world: MemoryWorld;
  readonly hub: CommandHub<P>;
  readonly server: Server<CommandMessage>;
  client(): NativeClient;
  /** A connection of knet's profile (`streamProfile: 'knet'`). */
  knet(): Promise<{
    readonly session: Session<CommandMessage>;
    readonly recorder: Recorder<CommandMessage>;
    readonly texts: () => string[];
  }>;
}

export async function hubScene<P extends Protocol = Protocol>(
  options: CommandHubOptions<P> = {},
  world: MemoryWorld = new MemoryWorld(),
): Promise<HubScene<P>> {
  const hub = new CommandHub<P>({ clock: world.clock, ...options });
  const server = await world.server<CommandMessage, CommandMessage>(hub.codec, hub, [commandOptions(hub)]);
  const knet = async () => {
    const recorder = new Recorder<CommandMessage>();
    const session = await world.connect<CommandMessage, CommandMessage>(new CommandHandler(), recorder);
    return { session, recorder, texts: () => recorder.packages.map(({ id, payload }) => `${id}:${Buffer.from(payload)}`) };
  };
  return { world, hub, server, client: () => new NativeClient(world, undefined, hub.codec), knet };
}
