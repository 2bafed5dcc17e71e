import { describe, expect, it } from 'vitest';
import { RpcLineHandler, RpcMessageHandler } from '../../src/rpc/rpc-framings.ts';
import { bytes, bytewise, decode, encode } from '../helpers/codec-recorder.ts';
import { thrownBy } from '../helpers/thrown.ts';

describe('RpcLineHandler', () => {
  it('takes and writes one text per line', () => {
    const handler = new RpcLineHandler();
    expect(encode(handler, '{}', '"ä"').toString()).toBe('{}\n"ä"\n');
    expect(decode(handler, bytewise(Buffer.from('{}\r\n[]\n')))).toEqual({ events: ['pkg {}\r', 'pkg []'], left: 0 });
    expect(thrownBy(() => encode(handler, 'a\nb'))).toMatchObject({ code: 'ENCODE_FAILED' });
  });

  it('refuses a line that is not UTF-8, and goes on', () => {
    const stream = Buffer.concat([Buffer.of(0x22, 0xff, 0x22), bytes('\n{}\n')]);
    expect(decode(new RpcLineHandler(), [stream]).events).toEqual(['error MALFORMED_PACKAGE', 'pkg {}']);
  });

  it('bounds the line, both ways', () => {
    const handler = new RpcLineHandler({ maxLineBytes: 4 });
    expect(decode(handler, [bytes('12345')]).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
    expect(thrownBy(() => encode(handler, '12345'))).toMatchObject({ code: 'ENCODED_TOO_LARGE' });
    expect(thrownBy(() => new RpcLineHandler({ maxLineBytes: 0 }))).toMatchObject({ code: 'INVALID_OPTION' });
  });
});

describe('RpcMessageHandler', () => {
  it('writes only text', () => {
    expect(thrownBy(() => encode(new RpcMessageHandler(), 7 as unknown as string))).toMatchObject({ code: 'ENCODE_FAILED' });
  });
});
