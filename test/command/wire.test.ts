import { describe, expect, it } from 'vitest';
import {
  COMMAND_ID,
  decodeCall,
  decodeCredit,
  decodeFailure,
  decodeGoodbye,
  decodeHello,
  decodeNumber,
  decodePresence,
  decodeReply,
  decodeRoom,
  decodeVolatile,
  decodeWelcome,
  encodeCall,
  encodeCancel,
  encodeControl,
  encodeCredit,
  encodeJson,
  encodeMessage,
  encodeReply,
  encodeRoom,
  encodeSeq,
  encodeVolatile,
  isCounted,
  isRoomName,
} from '../../src/command/wire.ts';

const hi = Buffer.from('hi');

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

/** What follows the id. */
function rest(message: Uint8Array): Uint8Array {
  return message.subarray(4);
}

it('lays messages out as the page says', () => {
  expect(hex(encodeMessage(1, Buffer.from('hello')))).toBe('0000000168656c6c6f');
  expect(hex(encodeMessage(0xfffffff2))).toBe('fffffff2');
  expect(hex(encodeSeq(COMMAND_ID.ACK, 0xffffffff))).toBe('fffffff4ffffffff');
  expect(hex(encodeVolatile(2, hi))).toBe('fffffff7000000026869');
  expect(hex(encodeCall(7, 2, hi))).toBe('fffffff800000007000000026869');
  expect(hex(encodeReply(7, 2, hi))).toBe('fffffff900000007026869');
  expect(hex(encodeReply(7, 3))).toBe('fffffff90000000703');
  expect(hex(encodeCancel(7))).toBe('fffffffa00000007');
  expect(hex(encodeCredit(7, 32))).toBe('fffffffb0000000700000020');
  expect(hex(encodeRoom('ä', 2, hi))).toBe('ffffffe402c3a4000000026869');
});

it('reads back what it wrote', () => {
  expect(decodeNumber(rest(encodeCancel(7)))).toBe(7);
  expect(decodeCredit(rest(encodeCredit(7, 32)))).toEqual({ call: 7, items: 32 });
  expect(decodeVolatile(rest(encodeVolatile(2, hi)))).toEqual({ id: 2, payload: new Uint8Array(hi) });
  expect(decodeCall(rest(encodeCall(7, 2, hi)))).toEqual({ call: 7, id: 2, payload: new Uint8Array(hi) });
  expect(decodeReply(rest(encodeReply(7, 2, hi)))).toEqual({ call: 7, kind: 2, payload: new Uint8Array(hi) });
  expect(decodeRoom(rest(encodeRoom('ä', 2, hi)))).toEqual({ room: 'ä', id: 2, payload: new Uint8Array(hi) });
  const hello = { v: 1, token: 't', received: 3, oldest: 2, auth: { a: 1 }, rooms: [{ name: 'a', state: 1 }] } as const;
  expect(decodeHello(rest(encodeControl(COMMAND_ID.HELLO, hello)))).toEqual(hello);
  const welcome = { id: 'i', recovered: false, received: 0, heartbeatMs: 1, retentionMs: 0, maxPayloadBytes: 5, rooms: ['a'] };
  expect(decodeWelcome(rest(encodeControl(COMMAND_ID.WELCOME, welcome)))).toEqual(welcome);
  const goodbye = { status: 4401, reason: 'no', retryAfterMs: 1, isFatal: true };
  expect(decodeGoodbye(rest(encodeControl(COMMAND_ID.GOODBYE, goodbye)))).toEqual(goodbye);
  const presence = { room: 'a', joined: { i: 1 }, left: ['j'], all: {} };
  expect(decodePresence(rest(encodeControl(COMMAND_ID.PRESENCE, presence)))).toEqual(presence);
});

describe('what is malformed is undefined', () => {
  it.each<[string, (bytes: Uint8Array) => unknown, Buffer | string]>([
    ['a number of 3 bytes', decodeNumber, Buffer.alloc(3)],
    ['a number of 5 bytes', decodeNumber, Buffer.alloc(5)],
    ['a credit of 7 bytes', decodeCredit, Buffer.alloc(7)],
    ['a volatile of 3 bytes', decodeVolatile, Buffer.alloc(3)],
    ['a call of 7 bytes', decodeCall, Buffer.alloc(7, 1)],
    ['a call with the number 0', decodeCall, Buffer.alloc(8)],
    ['a reply without a kind', decodeReply, Buffer.alloc(4)],
    ['a reply of kind 4', decodeReply, Buffer.from([0, 0, 0, 1, 4])],
    ['a room without a name', decodeRoom, Buffer.alloc(5)],
    ['a room that ends in its name', decodeRoom, Buffer.from([5, 97, 97])],
    ['a room of 129 bytes', decodeRoom, Buffer.alloc(140, 129)],
    ['a room that is not UTF-8', decodeRoom, Buffer.from([1, 0xff, 0, 0, 0, 1])],
    ['no JSON', decodeHello, '{'],
    ['no object', decodeHello, '[1]'],
    ['null', decodeHello, 'null'],
    ['another version', decodeHello, '{"v":2}'],
    ['a token that is no text', decodeHello, '{"v":1,"token":1}'],
    ['a number below 0', decodeHello, '{"v":1,"received":-1}'],
    ['a broken number', decodeHello, '{"v":1,"oldest":1.5}'],
    ['rooms without names', decodeHello, '{"v":1,"rooms":[{}]}'],
    ['rooms that are no list', decodeHello, '{"v":1,"rooms":{}}'],
    ['a WELCOME without an id', decodeWelcome, '{}'],
    ['a WELCOME without times', decodeWelcome, '{"id":"i","recovered":true,"received":0,"rooms":[]}'],
    ['a GOODBYE without a status', decodeGoodbye, '{"reason":""}'],
    ['a GOODBYE with a time in the past', decodeGoodbye, '{"status":1,"reason":"","retryAfterMs":-1}'],
    ['PRESENCE without a room', decodePresence, '{}'],
    ['PRESENCE with a list of members', decodePresence, '{"room":"a","joined":[]}'],
    ['PRESENCE with ids that are none', decodePresence, '{"room":"a","left":[1]}'],
  ])('%s', (_what, decode, given) => {
    expect(decode(Buffer.from(given))).toBeUndefined();
  });

  it('except for failures: whatever it is, the call has failed', () => {
    expect(decodeFailure(Buffer.from('{'))).toEqual({ code: 'INTERNAL', message: '' });
    expect(decodeFailure(encodeJson({ code: 'A', message: 'b', data: 1 }))).toEqual({ code: 'A', message: 'b', data: 1 });
  });
});

it('counts all but the messages about the connection itself', () => {
  const { HELLO, WELCOME, PING, PONG, ACK, SEQ, GOODBYE, VOLATILE } = COMMAND_ID;
  for (const id of [HELLO, WELCOME, PING, PONG, ACK, SEQ, GOODBYE, VOLATILE]) expect(isCounted(id)).toBe(false);
  const { RPC, RPC_ERROR, CALL, REPLY, CANCEL, CREDIT, ROOM, PRESENCE } = COMMAND_ID;
  for (const id of [0, 1, RPC, RPC_ERROR, CALL, REPLY, CANCEL, CREDIT, ROOM, PRESENCE, 0xfffffffd]) expect(isCounted(id)).toBe(true);
});

it('takes well-formed names of 1 to 128 bytes for rooms', () => {
  expect(['a', 'ä'.repeat(64), '__proto__'].map(isRoomName)).toEqual([true, true, true]);
  expect(['', 'ä'.repeat(65), '\ud800', 1, undefined].map(isRoomName)).toEqual([false, false, false, false, false]);
});
