import { type Channel, channel } from 'node:diagnostics_channel';

/**
 * What the core publishes on `node:diagnostics_channel`, under these names. Nobody listening costs one boolean test; the
 * message objects are made only for subscribers. See docs/reference/events.md for the fields.
 */
export const DIAGNOSTICS_CHANNELS = {
  sessionOpen: 'portico:session:open',
  sessionClose: 'portico:session:close',
  sessionError: 'portico:session:error',
  endpointOpen: 'portico:endpoint:open',
  endpointClose: 'portico:endpoint:close',
  reconnect: 'portico:client:reconnect',
  refuse: 'portico:server:refuse',
  limit: 'portico:limit',
} as const;

type ChannelName = keyof typeof DIAGNOSTICS_CHANNELS;

const channels = Object.fromEntries(Object.entries(DIAGNOSTICS_CHANNELS).map(([key, name]) => [key, channel(name)])) as Record<
  ChannelName,
  Channel
>;

/** Publishes when somebody listens. `message` is a function so that nothing is built otherwise. */
export function publish(name: ChannelName, message: () => object): void {
  const target = channels[name];
  if (target.hasSubscribers) target.publish(message());
}
