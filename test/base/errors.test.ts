import { describe, expect, it } from 'vitest';
import {
  ConfigError,
  describeThrown,
  ERROR_CATALOGUE,
  type ErrorCode,
  ListenerError,
  PeerError,
  PorticoError,
  StateError,
  TransportError,
} from '../../src/base/errors.ts';

/** Each code in its class. The compiler refuses a code given to the wrong one. */
function errorOf(code: ErrorCode): PorticoError {
  const [name] = ERROR_CATALOGUE[code];
  switch (name) {
    case 'ConfigError':
      return new ConfigError(code as never, 'text');
    case 'StateError':
      return new StateError(code as never, 'text');
    case 'PeerError':
      return new PeerError(code as never, 'text');
    case 'TransportError':
      return new TransportError(code as never, 'text');
    case 'ListenerError':
      return new ListenerError(code as never, 'read', 'text');
    default:
      return name satisfies never;
  }
}

const codes = Object.keys(ERROR_CATALOGUE) as ErrorCode[];

describe('the catalogue of errors', () => {
  it.each(codes)('%s has a class and a sentence', (code) => {
    const [name, meaning] = ERROR_CATALOGUE[code];
    expect(code).toMatch(/^[A-Z]+(_[A-Z]+)*$/);
    expect(meaning).toMatch(/^\S.*\.$/);
    const error = errorOf(code);
    expect(error).toMatchObject({ code, name, message: 'text' });
    expect(error).toBeInstanceOf(PorticoError);
    expect(error).toBeInstanceOf(Error);
    expect(String(error)).toBe(`${name}: text`);
  });

  it('gives no two codes the same meaning', () => {
    const meanings = codes.map((code) => ERROR_CATALOGUE[code][1]);
    expect(new Set(meanings).size).toBe(meanings.length);
  });
});

describe('errors', () => {
  it('keep their cause', () => {
    const cause = new Error('ECONNRESET');
    for (const error of [
      new ConfigError('INVALID_TLS', 'x', { cause }),
      new StateError('ABORTED', 'x', { cause }),
      new PeerError('MALFORMED_PACKAGE', 'x', { cause }),
      new TransportError('CONNECTION_RESET', 'x', { cause }),
      new ListenerError('LISTENER_FAILED', 'open', 'x', { cause }),
    ]) {
      expect(error.cause).toBe(cause);
    }
    expect('cause' in new StateError('ABORTED', 'x')).toBe(false);
  });

  it('of a peer are fatal unless they say otherwise', () => {
    expect(new PeerError('MALFORMED_PACKAGE', 'x').recoverable).toBe(false);
    expect(new PeerError('MALFORMED_PACKAGE', 'x', { recoverable: true }).recoverable).toBe(true);
  });

  it('of a listener say where it was', () => {
    expect(new ListenerError('LISTENER_FAILED', 'cron', 'x').phase).toBe('cron');
  });
});

describe('describeThrown', () => {
  it('has a line for anything that can be thrown', () => {
    const hostile = {
      toString() {
        throw new Error('no');
      },
    };
    expect(describeThrown(new Error('text'))).toBe('text');
    expect(describeThrown(new TypeError())).toBe('TypeError');
    expect(describeThrown('text')).toBe('text');
    expect(describeThrown(null)).toBe('null');
    expect(describeThrown(undefined)).toBe('undefined');
    expect(describeThrown(7n)).toBe('7');
    expect(describeThrown(Symbol('s'))).toBe('Symbol(s)');
    expect(describeThrown(hostile)).toBe('[object Object]');
    expect(describeThrown(Object.create(null))).toBe('[object Object]');
  });
});
