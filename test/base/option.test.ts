import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/base/errors.ts';
import {
  applyOptions,
  checkBoolean,
  checkFunction,
  checkInteger,
  checkMethods,
  checkMs,
  checkOneOf,
  checkString,
  invalid,
  MAX_DELAY_MS,
  type Option,
  show,
} from '../../src/base/option.ts';

/** The message of the ConfigError that the call throws. */
function messageOf(call: () => unknown): string {
  try {
    call();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(ConfigError);
    expect(thrown).toMatchObject({ code: 'INVALID_OPTION', name: 'ConfigError' });
    return thrown instanceof Error ? thrown.message : '';
  }
  throw new Error('expected a ConfigError');
}

interface Options {
  size: number;
  name: string;
}

const withSize =
  (size: number): Option<{ size: number }> =>
  (options) => {
    options.size = size;
  };

describe('applyOptions', () => {
  it('applies in order: the later one wins', () => {
    expect(applyOptions<Options>({ size: 1, name: 'a' }, [withSize(2), withSize(3)])).toEqual({ size: 3, name: 'a' });
  });

  it('changes neither the defaults nor the list', () => {
    const defaults: Readonly<Options> = Object.freeze({ size: 1, name: 'a' });
    const options = Object.freeze([withSize(2)]);
    expect(applyOptions<Options>(defaults, options).size).toBe(2);
    expect(defaults.size).toBe(1);
  });

  it('refuses what is not an option, and says which one', () => {
    const wrong = { size: 5 } as unknown as Option<Options>;
    expect(messageOf(() => applyOptions<Options>({ size: 1, name: 'a' }, [withSize(2), wrong]))).toBe(
      'option 2: expected a value made by a with… function, given an object (Object)',
    );
    const missing = undefined as unknown as Option<Options>;
    expect(messageOf(() => applyOptions<Options>({ size: 1, name: 'a' }, [missing]))).toContain('option 1');
  });
});

describe('the checks of options', () => {
  it('return what is right', () => {
    expect([checkInteger('x', 5, 0), checkInteger('x', 5, 5, 5), checkMs('x', 1), checkMs('x', 0, 0), checkMs('x', MAX_DELAY_MS)]).toEqual([
      5, 5, 1, 0, 2_147_483_647,
    ]);
    expect([checkBoolean('x', false), checkString('x', 'é', 2), checkOneOf('x', 'b', ['a', 'b'])]).toEqual([false, 'é', 'b']);
    const object = { read() {}, write() {} };
    expect(checkMethods('x', object, ['read', 'write'])).toBe(object);
    const callable = Object.assign(() => {}, { read() {} });
    expect(checkMethods('x', callable, ['read'])).toBe(callable);
    const fn = (): void => {};
    expect(checkFunction('x', fn)).toBe(fn);
  });

  it('name the option, say what was expected and show what was given', () => {
    const wrong = (value: unknown): never => value as never;
    expect(messageOf(() => checkInteger('withBacklog', 1.5, 1))).toBe('withBacklog: expected a whole number, 1 or more, given 1.5');
    expect(messageOf(() => checkInteger('withBacklog', 0, 1, 10))).toBe('withBacklog: expected a whole number, from 1 to 10, given 0');
    expect(messageOf(() => checkInteger('withBacklog', wrong('7'), 1))).toBe('withBacklog: expected a whole number, 1 or more, given "7"');
    expect(messageOf(() => checkMs('withTimeout', 2 ** 31))).toBe(
      'withTimeout: expected a whole number, from 1 to 2147483647, given 2147483648',
    );
    expect(messageOf(() => checkMs('withTimeout', 0))).toContain('from 1 to');
    expect(messageOf(() => checkMs('withTimeout', -1, 0))).toContain('from 0 to');
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, null, undefined, 10n]) {
      expect(messageOf(() => checkInteger('withBacklog', wrong(value), 0))).toContain(`given ${String(value)}`);
    }
    expect(messageOf(() => checkBoolean('withNoDelay', wrong(1)))).toBe('withNoDelay: expected true or false, given 1');
    expect(messageOf(() => checkString('withName', '', 3))).toBe('withName: expected a string of 1 to 3 bytes, given ""');
    expect(messageOf(() => checkString('withName', 'éé', 3))).toBe('withName: expected a string of 1 to 3 bytes, given "éé"');
    expect(messageOf(() => checkOneOf('withPolicy', wrong('d'), ['a', 'b']))).toBe('withPolicy: expected one of a, b, given "d"');
    expect(messageOf(() => checkFunction('withFn', wrong([])))).toBe('withFn: expected a function, given an object (Array)');
  });

  it('name the methods that are missing', () => {
    const half: { read: () => void; write: () => void } = { read() {} } as never;
    expect(messageOf(() => checkMethods('withPkgHandler', half, ['read', 'write']))).toBe(
      'withPkgHandler: expected an object with the method(s) write, given an object (Object)',
    );
    expect(messageOf(() => checkMethods('withPkgHandler', null as never, ['read' as never]))).toContain('method(s) read, given null');
  });
});

describe('show', () => {
  it('is one line and short for any value', () => {
    const bare: object = Object.create(null);
    const values: [unknown, string][] = [
      ['line\nbreak', '"line\\nbreak"'],
      [bare, 'an object (object)'],
      [new Map(), 'an object (Map)'],
      [Symbol('s'), 'Symbol(s)'],
      [undefined, 'undefined'],
    ];
    for (const [value, text] of values) expect(show(value)).toBe(text);
    expect(show('x'.repeat(500))).toHaveLength(80);
    expect(show('x'.repeat(500))).toMatch(/\.\.\.$/);
  });
});

describe('invalid', () => {
  it('makes a ConfigError', () => {
    expect(invalid('withX', 'a b', 3)).toBeInstanceOf(ConfigError);
    expect(invalid('withX', 'a b', 3).message).toBe('withX: expected a b, given 3');
  });
});
