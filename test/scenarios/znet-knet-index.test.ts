import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';

const SCENARIOS = 63;
const test = path.join(import.meta.dirname, '..');

/** `znet-knet scenario 7` and `znet-knet scenarios 39 and 40` in the names of tests. */
const NAME = /(?:it|describe)(?:\.\w+(?:\([^)]*\))?)?\(\s*['"`]znet-knet scenarios? ([\d, and]+)/g;

it('has a test for each of the numbered scenarios of znet and knet', () => {
  const files = readdirSync(test, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.test.ts'));
  const text = files.map((file) => readFileSync(path.join(test, file), 'utf8')).join('\n');
  const found = new Set([...text.matchAll(NAME)].flatMap(([, numbers = '']) => numbers.match(/\d+/g) ?? []).map(Number));
  const missing = Array.from({ length: SCENARIOS }, (_, index) => index + 1).filter((number) => !found.has(number));
  expect(missing).toEqual([]);
});
