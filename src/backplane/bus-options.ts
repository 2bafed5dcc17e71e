import { type Clock, systemClock } from '../base/clock.ts';
import { checkInteger, checkMethods } from '../base/option.ts';
import type { BackplaneLimits } from './backplane.ts';
import { checkLimits } from './checks.ts';

export interface BusBackplaneOptions extends Partial<BackplaneLimits> {
  /** A node that is not heard of for so long is gone; nodes tell of themselves five times as often. Default 10 000. */
  readonly leaseMs?: number;
  /** How long other nodes are waited for when they are asked something. Default 1 000. */
  readonly queryTimeoutMs?: number;
  /** Without a directory: how long `open` waits for other nodes to tell of themselves. Default 100; 0 = does not wait. */
  readonly joinWaitMs?: number;
  /** Questions to other nodes that may be open; one more is answered with what is known. Default 1 000. */
  readonly maxQuestions?: number;
  /** Where time comes from; for tests. */
  readonly clock?: Clock;
}

export interface BusBackplaneSettings {
  readonly limits: BackplaneLimits;
  readonly leaseMs: number;
  readonly beatMs: number;
  /** Shorter, so that a directory does not tell of a node that was found dead. */
  readonly directoryLeaseMs: number;
  readonly queryTimeoutMs: number;
  readonly joinWaitMs: number;
  readonly maxQuestions: number;
  readonly clock: Clock;
}

const BEATS_PER_LEASE = 5;

export function checkBusOptions(name: string, options: BusBackplaneOptions): BusBackplaneSettings {
  const { leaseMs = 10_000, queryTimeoutMs = 1_000, joinWaitMs = 100, maxQuestions = 1_000, clock = systemClock } = options;
  checkInteger(`${name} leaseMs`, leaseMs, 100, 3_600_000);
  const beatMs = Math.floor(leaseMs / BEATS_PER_LEASE);
  return {
    limits: checkLimits(name, options),
    leaseMs,
    beatMs,
    directoryLeaseMs: leaseMs - 2 * beatMs,
    queryTimeoutMs: checkInteger(`${name} queryTimeoutMs`, queryTimeoutMs, 1, 60_000),
    joinWaitMs: checkInteger(`${name} joinWaitMs`, joinWaitMs, 0, 60_000),
    maxQuestions: checkInteger(`${name} maxQuestions`, maxQuestions, 1),
    clock: checkMethods(`${name} clock`, clock, ['now', 'after', 'yield']),
  };
}
