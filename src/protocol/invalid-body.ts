import { PeerError } from '../base/errors.ts';

/** One thing that is wrong with a body. */
export interface BodyIssue {
  /** Where, such as `user.names[2]`; empty for the body as a whole. At most 128 characters. */
  readonly path: string;
  /** What, for people. At most 200 characters. */
  readonly message: string;
}

const MAX_ISSUES = 16;
const MAX_PATH_LENGTH = 128;
const MAX_MESSAGE_LENGTH = 200;

/**
 * The peer sent a body that its codec or schema refuses. Bounded whatever the peer sent, so that it can be logged and told to the
 * peer. The framing is still in step: the session can go on.
 */
export class InvalidBodyError extends PeerError {
  /** What is wrong; the first 16 of it. */
  readonly issues: readonly BodyIssue[];

  /** `codec` is the name of the codec. */
  constructor(codec: string, issues: readonly BodyIssue[], options?: ErrorOptions) {
    const bounded = issues.slice(0, MAX_ISSUES).map(({ path, message }) => ({
      path: cut(path, MAX_PATH_LENGTH),
      message: cut(message, MAX_MESSAGE_LENGTH),
    }));
    const [first] = bounded;
    const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : '';
    const text = first === undefined ? 'it was refused' : `${first.path === '' ? '' : `${first.path}: `}${first.message}`;
    super('INVALID_BODY', `invalid ${codec} body: ${text}${more}`, { ...options, recoverable: true });
    this.issues = bounded;
  }
}

/** For the codecs: one issue with the body as a whole. */
export function invalidBody(codec: string, message: string, cause?: unknown): InvalidBodyError {
  return new InvalidBodyError(codec, [{ path: '', message }], cause === undefined ? undefined : { cause });
}

/** A path as people write it; keys that are no identifiers are quoted. */
export function showPath(keys: readonly PropertyKey[]): string {
  let text = '';
  for (const key of keys) {
    if (typeof key === 'number') text += `[${key}]`;
    else if (typeof key === 'string' && /^[\w$]{1,64}$/.test(key)) text += text === '' ? key : `.${key}`;
    else text += `[${JSON.stringify(cut(String(key), 32))}]`;
    if (text.length > MAX_PATH_LENGTH) break;
  }
  return text;
}

function cut(text: string, maxLength: number): string {
  return text.length > maxLength ? `${text.slice(0, maxLength - 3)}...` : text;
}
