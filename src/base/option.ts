import { ConfigError } from './errors.ts';

/**
 * A functional option: a function that writes one validated value into the options being built. Because it only writes, an
 * option for a wide type (a session) is accepted wherever a narrower one (a server) is configured, and never the other way.
 */
export type Option<T> = (options: T) => void;

/** Copies `defaults`, then applies the options in order: the later one wins. The caller's objects are not changed. */
export function applyOptions<T extends object>(defaults: T, options: readonly Option<T>[]): T {
  const result = { ...defaults };
  for (const [index, option] of options.entries()) {
    if (typeof option !== 'function') {
      throw new ConfigError('INVALID_OPTION', `option ${index + 1}: expected a value made by a with… function, given ${show(option)}`);
    }
    option(result);
  }
  return result;
}

/** The largest delay a timer takes: 2^31 - 1 ms, as in Node. */
export const MAX_DELAY_MS = 2_147_483_647;

/** Throws ConfigError unless `value` is a whole number in the range. Returns it, so that it can be used in place. */
export function checkInteger(name: string, value: number, min: number, max: number = Number.MAX_SAFE_INTEGER): number {
  if (!Number.isInteger(value) || value < min || value > max) {
    const range = max === Number.MAX_SAFE_INTEGER ? `${min} or more` : `from ${min} to ${max}`;
    throw invalid(name, `a whole number, ${range}`, value);
  }
  return value;
}

/** A duration in whole milliseconds; `min` is 0 where 0 means "off". */
export function checkMs(name: string, value: number, min: 0 | 1 = 1): number {
  return checkInteger(name, value, min, MAX_DELAY_MS);
}

export function checkBoolean(name: string, value: boolean): boolean {
  if (typeof value !== 'boolean') throw invalid(name, 'true or false', value);
  return value;
}

export function checkString(name: string, value: string, maxBytes: number): string {
  if (typeof value !== 'string' || value.length === 0 || new TextEncoder().encode(value).length > maxBytes) {
    throw invalid(name, `a string of 1 to ${maxBytes} bytes`, value);
  }
  return value;
}

export function checkOneOf<T extends string>(name: string, value: T, allowed: readonly T[]): T {
  if (!allowed.includes(value)) throw invalid(name, `one of ${allowed.join(', ')}`, value);
  return value;
}

/** For functions and for objects that must have certain methods. */
export function checkMethods<T extends object>(name: string, value: T, methods: readonly (keyof T & string)[]): T {
  const isObject = (typeof value === 'object' && value !== null) || typeof value === 'function';
  const missing = isObject ? methods.filter((method) => typeof value[method] !== 'function') : methods;
  if (!isObject || missing.length > 0) throw invalid(name, `an object with the method(s) ${missing.join(', ')}`, value);
  return value;
}

export function checkFunction<T>(name: string, value: T): T {
  if (typeof value !== 'function') throw invalid(name, 'a function', value);
  return value;
}

/** "withX: expected …, given …", the one form of every complaint about an option. */
export function invalid(name: string, expected: string, given: unknown): ConfigError {
  return new ConfigError('INVALID_OPTION', `${name}: expected ${expected}, given ${show(given)}`);
}

/** A short, one-line, bounded picture of any value for error messages. */
export function show(value: unknown): string {
  const text =
    typeof value === 'string' ? JSON.stringify(value) : typeof value === 'object' && value !== null ? describeObject(value) : String(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function describeObject(value: object): string {
  const prototype: unknown = Object.getPrototypeOf(value);
  const name =
    typeof prototype === 'object' && prototype !== null && typeof prototype.constructor === 'function'
      ? prototype.constructor.name
      : 'object';
  return `an object (${name})`;
}
