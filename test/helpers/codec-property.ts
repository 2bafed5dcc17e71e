const { PORTICO_LONG, PORTICO_SEED } = process.env;

/** Many more runs, for a nightly job: PORTICO_LONG=1. A failing run is repeated with the PORTICO_SEED that was logged. */
export const IS_LONG: boolean = PORTICO_LONG === '1';

export interface PropertyRuns {
  readonly numRuns: number;
  readonly seed: number;
}

const seed = Number(PORTICO_SEED ?? Math.trunc(Math.random() * 0x7fff_ffff));
let isLogged = false;

/** How often fast-check runs one property, and from which seed. */
export function propertyRuns(normal: number, long = 100_000): PropertyRuns {
  if (!isLogged) console.info(`PORTICO_SEED=${seed}`);
  isLogged = true;
  return { numRuns: IS_LONG ? long : normal, seed };
}

/** For the slowest property of a file. */
export const PROPERTY_TIMEOUT_MS: number = IS_LONG ? 3_600_000 : 30_000;
