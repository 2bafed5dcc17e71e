import { StateError } from '../base/errors.ts';
import { checkInteger, checkMethods, checkString, invalid } from '../base/option.ts';
import { BACKPLANE_LIMITS, type BackplaneLimits, type BackplaneSink } from './backplane.ts';
import type { BackplaneCounters } from './counters.ts';

/** Bytes of the name of a channel, a room, a member or a client. */
const MAX_NAME_BYTES = 256;

/** Names are short and mostly checked again and again: what cannot be too long is not measured. */
export function checkName(what: string, name: string): string {
  if (typeof name === 'string' && name.length > 0 && name.length * 3 <= MAX_NAME_BYTES) return name;
  return checkString(what, name, MAX_NAME_BYTES);
}

export function checkBytes(what: string, bytes: Uint8Array): Uint8Array {
  if (!(bytes instanceof Uint8Array)) throw invalid(what, 'a Uint8Array', bytes);
  return bytes;
}

export function checkSink(sink: BackplaneSink): BackplaneSink {
  return checkMethods('open sink', sink, ['onMessage', 'onMember', 'onNodeDown', 'onGap', 'onError']);
}

/** Fills up with the defaults. */
export function checkLimits(name: string, given: Partial<BackplaneLimits>): BackplaneLimits {
  const limits: Record<keyof BackplaneLimits, number> = { ...BACKPLANE_LIMITS };
  for (const key of Object.keys(BACKPLANE_LIMITS) as (keyof BackplaneLimits)[]) {
    const value = given[key];
    if (value !== undefined) limits[key] = checkInteger(`${name} ${key}`, value, 1);
  }
  return limits;
}

/** Whether a message may be sent; one that is too large is counted and told. */
export function fits(bytes: Uint8Array, { maxMessageBytes }: BackplaneLimits, counters: BackplaneCounters, sink: BackplaneSink): boolean {
  if (bytes.length <= maxMessageBytes) return true;
  counters.tooLarge++;
  sink.onError(new StateError('ENCODED_TOO_LARGE', `publish: expected at most ${maxMessageBytes} bytes, given ${bytes.length}`));
  return false;
}
