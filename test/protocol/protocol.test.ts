import { describe, expect, it } from 'vitest';
import { json } from '../../src/protocol/json.ts';
import { defineProtocol, MAX_MESSAGE_ID, messageNamed, type ProtocolSpec } from '../../src/protocol/protocol.ts';
import { empty, text } from '../../src/protocol/raw.ts';

const chat = defineProtocol({
  say: { id: 1, body: json<{ text: string }>() },
  'user:rename': { id: 2, body: text(), reply: text() },
  history: { id: MAX_MESSAGE_ID, body: empty(), stream: text() },
  constructor: { id: 0, body: text() },
  toString: { id: 3, body: text() },
});

describe('defineProtocol', () => {
  it('finds messages by name and by id, and knows their kinds', () => {
    expect([...chat.byName.values()].map(({ name, id, kind }) => [name, id, kind])).toEqual([
      ['say', 1, 'message'],
      ['user:rename', 2, 'call'],
      ['history', 0xffff_ffdf, 'stream'],
      ['constructor', 0, 'message'],
      ['toString', 3, 'message'],
    ]);
    expect(chat.byId.get(2)).toBe(chat.byName.get('user:rename'));
    expect(chat.byName.get('constructor')?.id).toBe(0);
    for (const name of ['valueOf', '__proto__', 'hasOwnProperty']) expect(chat.byName.get(name)).toBeUndefined();
  });

  it.each<[string, unknown, object?]>([
    ['b.id: expected an id that is not the one of a, given 1', { a: { id: 1, body: text() }, b: { id: 1, body: text() } }],
    ['a.id: expected a whole number, from 0 to 4294967263, given 4294967264', { a: { id: 0xffff_ffe0, body: text() } }],
    ['a.id: expected a whole number, from 0 to 4294967263, given -1', { a: { id: -1, body: text() } }],
    ['a.id: expected a whole number, from 0 to 4294967263, given 1.5', { a: { id: 1.5, body: text() } }],
    [
      'a.id: expected a whole number, from -32768 to 32767, given 32768',
      { a: { id: 32_768, body: text() } },
      { minId: -32_768, maxId: 32_767 },
    ],
    ['a.body: expected a body codec, such as json(), given undefined', { a: { id: 1 } }],
    ['a.body: expected a body codec, such as json(), given a function', { a: { id: 1, body: json } }],
    ['a.reply.encode: expected a function, given undefined', { a: { id: 1, body: text(), reply: {} } }],
    ['a: expected reply or stream, given "both"', { a: { id: 1, body: text(), reply: text(), stream: text() } }],
    ['a: expected { id, body }, given null', { a: null }],
  ])('refuses %s', (message, spec, options) => {
    const given = message.replace(/a function$/, '');
    // The compiler would refuse most of these.
    expect(() => defineProtocol(spec as ProtocolSpec, options)).toThrow(
      expect.objectContaining({ name: 'ConfigError', code: 'INVALID_OPTION', message: expect.stringContaining(`defineProtocol ${given}`) }),
    );
  });

  it('refuses names that are no names, and a prototype in place of a message', () => {
    for (const name of ['', '1', 'a b', 'x'.repeat(65), '-a', 'ü']) {
      expect(() => defineProtocol({ [name]: { id: 1, body: text() } })).toThrow('defineProtocol: expected names of 1 to 64');
    }
    const literal: ProtocolSpec = { __proto__: { id: 1, body: text() } } as never;
    expect(() => defineProtocol(literal)).toThrow('defineProtocol: expected a plain object of messages');
    expect(() => defineProtocol(JSON.parse('{"__proto__":{"id":1}}'))).toThrow('defineProtocol: expected names');
    expect(() => defineProtocol(undefined as never)).toThrow('defineProtocol: expected a plain object of messages, given undefined');
  });

  it('takes negative ids for the router', () => {
    expect(defineProtocol({ a: { id: -1, body: text() } }, { minId: -32_768, maxId: 32_767 }).byId.get(-1)?.name).toBe('a');
  });
});

describe('messageNamed', () => {
  it('complains in the name of the method that was called', () => {
    expect(messageNamed(chat, 'say', 'send').id).toBe(1);
    expect(messageNamed(chat, 'say', 'send', ['message']).id).toBe(1);
    expect(() => messageNamed(chat, 'say', 'call', ['call'])).toThrow('call: expected the name of a call, not of a message, given "say"');
    expect(() => messageNamed(chat, 'shout', 'send', ['message'])).toThrow(
      'send: expected the name of a message of the protocol, given "shout"',
    );
    expect(() => messageNamed(chat, '__proto__', 'on')).toThrow('on: expected the name of a message of the protocol');
  });
});
