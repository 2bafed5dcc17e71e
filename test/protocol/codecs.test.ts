import { runInNewContext } from 'node:vm';
import { type } from 'arktype';
import fc from 'fast-check';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { InvalidBodyError } from '../../src/protocol/invalid-body.ts';
import { json } from '../../src/protocol/json.ts';
import { parseJson } from '../../src/protocol/json-text.ts';
import { empty, raw, text, toBytes } from '../../src/protocol/raw.ts';
import { anyCharacter, propertyRuns } from '../helpers/codec-property.ts';

const bytesOf = (value: string): Uint8Array => new TextEncoder().encode(value);

/** The error that a body is refused with. */
function refusal(call: () => unknown): InvalidBodyError {
  try {
    call();
  } catch (thrown) {
    if (thrown instanceof InvalidBodyError) return thrown;
    throw thrown;
  }
  throw new Error('it was not refused');
}

describe('json', () => {
  const any = json<unknown>();

  it('reads what it wrote', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: anyCharacter }), (value) => {
        // Refused on purpose, which has a test of its own.
        fc.pre(!JSON.stringify(value).includes('"__proto__"'));
        const bytes = any.encode(value);
        expect(JSON.stringify(any.decode(bytes))).toBe(JSON.stringify(value));
      }),
      propertyRuns(300),
    );
  });

  it('takes any bytes, or refuses them with an error of the peer', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.string({ maxLength: 40, unit: fc.constantFrom(...'{}[]",:\\u00_a1 ') }).map(bytesOf)),
        (bytes) => {
          try {
            any.decode(bytes);
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(InvalidBodyError);
          }
        },
      ),
      propertyRuns(1000),
    );
  });

  it.each([
    ['it is not JSON', '{'],
    ['it is not JSON', ''],
    ['it is not JSON', 'NaN'],
    ['it is not JSON', '{"a":1}x'],
    ['it is not JSON', '[1,]'],
    ['it begins with a byte order mark', '\ufeff{}'],
    ['it has a member called __proto__', '{"__proto__":{"isAdmin":true}}'],
    ['it has a member called __proto__', '[{"a":{"\\u005f_proto_\\u005F":1}}]'],
    ['it has a member called __proto__', '{"__pr\\u006fto__":1}'],
  ])('refuses, because %s: %s', (why, body) => {
    const error = refusal(() => any.decode(bytesOf(body)));
    expect(error).toMatchObject({ name: 'PeerError', code: 'INVALID_BODY', recoverable: true, message: `invalid json body: ${why}` });
    expect(error.issues).toEqual([{ path: '', message: why }]);
  });

  it.each([['80'], ['c3 28'], ['ed a0 80'], ['22 ff 22'], ['f4 90 80 80']])('refuses bytes that are no UTF-8: %s', (hex) => {
    expect(refusal(() => any.decode(Buffer.from(hex.replaceAll(' ', ''), 'hex'))).message).toBe('invalid json body: it is not UTF-8');
  });

  it('takes __proto__ as a value, and nothing pollutes', () => {
    expect(any.decode(bytesOf('{"a":"__proto__","b":"\\u0041","constructor":1}'))).toEqual({ a: '__proto__', b: 'A', constructor: 1 });
    expect(Object.hasOwn(Object.prototype, 'isAdmin')).toBe(false);
  });

  it('takes nesting up to maxDepth, whatever stands in strings', () => {
    const nest = (depth: number): Uint8Array => bytesOf(`${'['.repeat(depth)}${']'.repeat(depth)}`);
    expect(any.decode(nest(64))).toEqual(JSON.parse(`${'['.repeat(64)}${']'.repeat(64)}`));
    for (const depth of [65, 10_000, 1_000_000]) {
      expect(refusal(() => any.decode(nest(depth))).message).toBe('invalid json body: it is nested deeper than 64 levels');
    }
    expect(refusal(() => json<unknown>({ maxDepth: 2 }).decode(bytesOf('{"a":[{}]}'))).message).toContain('deeper than 2 levels');
    const tricky = { text: `"${'{['.repeat(500)}\\"${'['.repeat(500)}`, '[[[{{{': '\\' };
    expect(json<unknown>({ maxDepth: 1 }).decode(any.encode(tricky))).toEqual(tricky);
    const wide = Array.from({ length: 1000 }, () => [{}]);
    expect(json<unknown>({ maxDepth: 3 }).decode(any.encode(wide))).toEqual(wide);
  });

  it('measures depth as a naive count over the value does', () => {
    const depthOf = (value: unknown): number =>
      typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0;
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6 }), fc.integer({ min: 1, max: 6 }), (value, maxDepth) => {
        const bytes = bytesOf(JSON.stringify(value, (key, inner) => (key === '__proto__' ? undefined : inner)));
        const call = (): unknown => parseJson(bytes, maxDepth);
        if (depthOf(JSON.parse(new TextDecoder().decode(bytes))) > maxDepth) expect(refusal(call).message).toContain('nested deeper');
        else call();
      }),
      propertyRuns(500),
    );
  });

  it('does not write what JSON has no words for', () => {
    const cycle: unknown[] = [];
    cycle.push(cycle);
    for (const value of [undefined, (): void => {}, Symbol('s'), 1n, cycle]) {
      expect(() => any.encode(value)).toThrow(expect.objectContaining({ name: 'StateError', code: 'UNENCODABLE_BODY' }));
    }
    expect(String(new TextDecoder().decode(any.encode(null)))).toBe('null');
  });

  it('refuses wrong options', () => {
    expect(() => json({ maxDepth: 0 })).toThrow('json maxDepth: expected a whole number, from 1 to 10000, given 0');
    // The compiler would refuse these.
    expect(() => json((() => {}) as never)).toThrow('json: expected a schema that follows Standard Schema, or options');
    expect(() => json({ '~standard': {} } as never)).toThrow('json: expected a schema with ~standard.validate');
    expect(() => json(7 as never)).toThrow('json: expected a schema that follows Standard Schema, or options, given 7');
  });
});

describe('json with a schema', () => {
  const schemas = {
    zod: json(z.object({ name: z.string().max(10), tags: z.array(z.string()), age: z.string().transform(Number) })),
    valibot: json(
      v.object({ name: v.pipe(v.string(), v.maxLength(10)), tags: v.array(v.string()), age: v.pipe(v.string(), v.transform(Number)) }),
    ),
    arktype: json(type({ name: 'string <= 10', tags: 'string[]', age: 'string.numeric.parse' })),
  };

  it.each(Object.entries(schemas))('of %s: a program gets what the schema makes of it', (_vendor, codec) => {
    const bytes = codec.encode({ name: 'ada', tags: ['x'], age: '36' });
    expect(codec.decode(bytes)).toEqual({ name: 'ada', tags: ['x'], age: 36 });
  });

  it.each(Object.entries(schemas))('of %s: says where a body is wrong', (_vendor, codec) => {
    const error = refusal(() => codec.decode(bytesOf('{"name":"ada","tags":["x",7],"age":"36"}')));
    expect(error.issues.map(({ path }) => path)).toEqual(['tags[1]']);
    expect(error.code).toBe('INVALID_BODY');
    expect(error.message).toMatch(/^invalid json body: tags\[1\]: .+/);
  });

  it('refuses a body without copying more of it into the error than fits', () => {
    const codec = json(z.strictObject({ list: z.array(z.string()) }));
    const key = 'k'.repeat(100_000);
    const list = Array.from({ length: 1000 }, () => 1);
    const error = refusal(() => codec.decode(bytesOf(JSON.stringify({ list, [key]: 1 }))));
    expect(error.issues.length).toBe(16);
    expect(error.message.length).toBeLessThan(400);
    for (const { path, message } of error.issues) expect([path.length <= 128, message.length <= 200]).toEqual([true, true]);
  });

  it('quotes keys in paths that are no names', () => {
    const codec = json(z.record(z.string(), z.string()));
    expect(refusal(() => codec.decode(bytesOf('{"a b\\n":1}'))).issues[0]?.path).toBe('["a b\\n"]');
  });

  it('refuses a schema that is asynchronous when it shows, without an unhandled rejection', () => {
    const slow = json(z.string().refine(() => Promise.resolve(true)));
    expect(() => slow.decode(bytesOf('"x"'))).toThrow(
      expect.objectContaining({
        name: 'ConfigError',
        code: 'INVALID_OPTION',
        message: 'json: expected a schema that validates synchronously, given one ("zod") that needs a promise',
      }),
    );
    const failing = json(
      v.pipeAsync(
        v.string(),
        v.checkAsync(() => Promise.reject(new Error('late'))),
      ),
    );
    expect(() => failing.decode(bytesOf('"x"'))).toThrow('validates synchronously');
  });
});

describe('raw', () => {
  it('znet-knet scenario 58: strings, views and buffers are the exact bytes', () => {
    const memory = new Uint8Array([0, 1, 2, 3, 4, 5, 6, 7]).buffer;
    expect([...raw().encode('grüße')]).toEqual([...Buffer.from('grüße')]);
    expect([...raw().encode(new Uint8Array(memory).subarray(2, 5))]).toEqual([2, 3, 4]);
    expect([...raw().encode(memory)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect([...raw().encode(new DataView(memory, 6))]).toEqual([6, 7]);
    expect([...raw().encode(new Uint16Array(memory, 2, 1))]).toEqual([2, 3]);
    expect(raw().encode(Buffer.alloc(0)).length).toBe(0);
    const foreign: ArrayBuffer = runInNewContext('new Uint8Array([7, 8]).buffer');
    expect([...toBytes(foreign)]).toEqual([7, 8]);
    // The compiler would refuse these.
    for (const wrong of [7, null, undefined, {}, [1, 2]]) {
      expect(() => raw().encode(wrong as never)).toThrow(expect.objectContaining({ code: 'UNENCODABLE_BODY' }));
    }
  });

  it('gives bytes that are the program’s own', () => {
    const lent = Buffer.from([1, 2, 3]);
    const received = raw().decode(lent);
    lent.fill(0);
    expect([received.constructor, [...received]]).toEqual([Uint8Array, [1, 2, 3]]);
  });
});

describe('text and empty', () => {
  it('keep text as it is, and refuse what is none', () => {
    expect(text().decode(text().encode('\ufeffgrüße \0'))).toBe('\ufeffgrüße \0');
    expect(refusal(() => text().decode(Buffer.of(0xff))).message).toBe('invalid text body: it is not UTF-8');
    // The compiler would refuse it.
    expect(() => text().encode(7 as never)).toThrow('text: expected a string, given 7');
  });

  it('have no bytes when there is nothing to say', () => {
    expect(empty().encode().length).toBe(0);
    expect(empty().decode(new Uint8Array(0))).toBeUndefined();
    expect(refusal(() => empty().decode(Buffer.of(1))).message).toBe('invalid empty body: expected no bytes, given 1');
    // The compiler would refuse it.
    expect(() => empty().encode(0 as never)).toThrow('empty: expected undefined, given 0');
  });
});
