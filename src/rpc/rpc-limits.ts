import { checkBoolean, checkFunction, checkInteger, checkMs } from '../base/option.ts';
import type { RpcCounters, RpcLimits, RpcPeerOptions } from './rpc-types.ts';

const DEFAULTS = {
  maxBatch: 50,
  maxDepth: 64,
  maxMessageBytes: 1_048_576,
  maxBatchResponseBytes: 1_048_576,
  maxPendingCalls: 1024,
  maxRunningCalls: 256,
  maxCollectedItems: 10_000,
  callTimeoutMs: 30_000,
  handlerTimeoutMs: 30_000,
  revealErrors: false,
} satisfies RpcPeerOptions;

/** The options with their defaults. Throws ConfigError INVALID_OPTION. */
export function checkRpcOptions(options: RpcPeerOptions): RpcLimits {
  const limits = { ...DEFAULTS, ...options };
  checkInteger('maxDepth', limits.maxDepth, 2, 10_000);
  for (const name of [
    'maxBatch',
    'maxMessageBytes',
    'maxBatchResponseBytes',
    'maxPendingCalls',
    'maxRunningCalls',
    'maxCollectedItems',
  ] as const) {
    checkInteger(name, limits[name], 1);
  }
  checkMs('callTimeoutMs', limits.callTimeoutMs, 0);
  checkMs('handlerTimeoutMs', limits.handlerTimeoutMs, 0);
  checkBoolean('revealErrors', limits.revealErrors);
  if (limits.cost !== undefined) checkFunction('cost', limits.cost);
  if (limits.onError !== undefined) checkFunction('onError', limits.onError);
  return limits;
}

export function newCounters(): RpcCounters {
  return {
    handled: 0,
    requests: 0,
    held: 0,
    invalid: 0,
    refused: 0,
    overRate: 0,
    overRunning: 0,
    overSize: 0,
    overPending: 0,
    timedOut: 0,
    unmatched: 0,
    failed: 0,
  };
}
