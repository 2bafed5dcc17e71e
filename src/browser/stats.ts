import type { BrowserClient } from './client.ts';

/** What has been counted since the client was made. */
export interface ClientStats {
  readonly messagesSent: number;
  readonly messagesReceived: number;
  /** That nobody listened to. */
  readonly unhandled: number;
  /** See the event `dropped`. */
  readonly dropped: number;
  /** Repeated by the server although they had come. */
  readonly duplicates: number;
  readonly openCalls: number;
  /** In the offline buffer. */
  readonly waiting: number;
  /** Sent, and kept until the server confirms them. */
  readonly unconfirmed: number;
}

/** The counters of a client. */
export function statsOf({ core }: Pick<BrowserClient, 'core'>): ClientStats {
  return { ...core.counts(), ...core.sender.stats(), openCalls: core.calls.size() };
}
