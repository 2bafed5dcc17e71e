import fc from 'fast-check';

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

/**
 * Characters of one to four bytes of UTF-8, of one and two units, that stand alone and that join others. fast-check's own units beyond
 * ASCII take half a second to be made in each process.
 */
export const anyCharacter: fc.Arbitrary<string> = fc.constantFrom(
  ...' aZ09\u0000\u001f\u007f"\\/{}[]:,_$',
  ...'\u0080ßé\u0301\u07ff\u0800€\u2028\u200d\ud7ff\uffff',
  ...['😀', '👩\u200d🚀', '\u{10ffff}'],
);
