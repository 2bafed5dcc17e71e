import type { BackplaneStats } from './backplane.ts';

type Counted =
  | 'published'
  | 'received'
  | 'dropped'
  | 'tooLarge'
  | 'missed'
  | 'repeated'
  | 'malformed'
  | 'refused'
  | 'disconnects'
  | 'unanswered'
  | 'deferred';

/** The part of the statistics that only grows. */
export class BackplaneCounters implements Pick<BackplaneStats, Counted> {
  published = 0;
  received = 0;
  dropped = 0;
  tooLarge = 0;
  missed = 0;
  repeated = 0;
  malformed = 0;
  refused = 0;
  disconnects = 0;
  unanswered = 0;
  deferred = 0;

  /** Counts a refusal; whether there was none. */
  unless(isRefused: boolean): boolean {
    if (isRefused) this.refused++;
    return !isRefused;
  }
}
