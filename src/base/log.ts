import createDebug from 'debug';
import { ignoreRejection } from './thenable.ts';

/**
 * Where an endpoint writes what an operator should see. `console` fits, and so does pino. Without one, warnings and errors
 * go to the `portico:*` namespaces of the `debug` package, which are silent unless the DEBUG variable names them.
 */
export interface Logger {
  warn(message: string): void;
  error(message: string): void;
}

/** One namespace of `debug`, typed here so that users need not have its types. */
interface DebugLog {
  (format: string, ...values: unknown[]): void;
  readonly enabled: boolean;
}

/** Developer diagnostics, one namespace per layer: `DEBUG=portico:*` shows all. Callers on a hot path MUST test `.enabled` first. */
export const log: Readonly<Record<'transport' | 'tls' | 'codec' | 'session' | 'pool' | 'endpoint', DebugLog>> = {
  transport: createDebug('portico:transport'),
  tls: createDebug('portico:tls'),
  codec: createDebug('portico:codec'),
  session: createDebug('portico:session'),
  pool: createDebug('portico:pool'),
  endpoint: createDebug('portico:endpoint'),
};

/** The default Logger. */
export const debugLogger: Logger = {
  warn: (message) => log.endpoint('warn %s', message),
  error: (message) => log.endpoint('error %s', message),
};

/** Line separators and control characters that JSON takes for text. */
const LEFT_BY_JSON = /[\u007f-\u009f\u2028\u2029]/g;

/** Text that came from a peer or a user, made safe for one log line: control characters escaped, length bounded. */
export function oneLine(text: string, maxLength = 256): string {
  const safe = JSON.stringify(text.length > maxLength ? `${text.slice(0, maxLength)}...` : text);
  return safe.slice(1, -1).replace(LEFT_BY_JSON, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** The same logger, except that it cannot fail: what is logged in the middle of a cleanup must not end it. */
export function safely(logger: Logger): Logger {
  const call = (method: keyof Logger, message: string): void => {
    try {
      ignoreRejection(logger[method](message));
    } catch (thrown) {
      log.endpoint('the logger failed: %O', thrown);
    }
  };
  return { warn: (message) => call('warn', message), error: (message) => call('error', message) };
}
