import { StateError } from '../base/errors.ts';

/**
 * The life of a session:
 *
 * ```
 * opening ---> open ---> closing ---> closed
 *    |                      ^
 *    '----------------------'   newSession failed, the peer went away, close() was called
 * ```
 */
export type SessionState = 'opening' | 'open' | 'closing' | 'closed';

const MOVES: Readonly<Record<SessionState, readonly SessionState[]>> = {
  opening: ['open', 'closing'],
  open: ['closing'],
  closing: ['closed'],
  closed: [],
};

/** The new state; throws when there is no such move, which is a fault of portico. */
export function moveTo(from: SessionState, to: SessionState): SessionState {
  if (!MOVES[from].includes(to))
    throw new StateError('WRONG_STATE', `session state: expected one of ${MOVES[from].join(', ')} after ${from}, given ${to}`);
  return to;
}
