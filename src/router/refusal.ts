import { CallError } from '../base/call-error.ts';
import { invalidBody } from '../protocol/invalid-body.ts';
import { parseJson } from '../protocol/json-text.ts';

/** The action of error replies, unless an option says otherwise. */
export const ERROR_ACTION = -2;

const MAX_REASON_LENGTH = 128;

/** The body of an error reply: JSON in all formats, so that one that has no codec for the request can be told so. */
export function encodeRefusal(action: number, { reason, message, data }: CallError): Uint8Array {
  return Buffer.from(JSON.stringify({ action, code: reason, message, data }));
}

export interface Refusal {
  /** Of the request. */
  readonly action: number;
  readonly error: CallError;
}

/** Reads the body of an error reply. Throws InvalidBodyError. */
export function decodeRefusal(body: Uint8Array): Refusal {
  const value = parseJson(body);
  const { action, code, message, data }: Partial<Record<string, unknown>> = typeof value === 'object' && value !== null ? { ...value } : {};
  if (typeof action !== 'number' || typeof code !== 'string' || code === '' || code.length > MAX_REASON_LENGTH) {
    throw invalidBody('json', 'it is no error reply');
  }
  return { action, error: new CallError(code, typeof message === 'string' ? message : '', data) };
}
