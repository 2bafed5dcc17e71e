import { ConfigError, describeThrown, StateError } from '../base/errors.ts';
import { checkInteger, invalid, show } from '../base/option.ts';
import type { BodyCodec } from './body-codec.ts';
import { InvalidBodyError, showPath } from './invalid-body.ts';
import { DEFAULT_MAX_JSON_DEPTH, parseJson } from './json-text.ts';
import type { SchemaInput, SchemaOutput, StandardSchema } from './standard-schema.ts';
import { encodeUtf8 } from './utf8.ts';

export interface JsonOptions {
  /** Objects and lists within each other that are taken from a peer. Default 64. */
  readonly maxDepth?: number;
}

/**
 * Bodies that are JSON. With a schema of any library that speaks Standard Schema (zod, valibot, arktype) what is received is
 * validated, and a program gets what the schema makes of it; what is sent is not. Without one the type is only claimed: a peer may
 * send anything.
 *
 * `decode` throws InvalidBodyError for what is not JSON or refused by the schema, and ConfigError for a schema that turns out to be
 * asynchronous. `encode` throws StateError UNENCODABLE_BODY for undefined, functions, big integers and cycles.
 */
export function json<Schema extends StandardSchema>(
  schema: Schema,
  options?: JsonOptions,
): BodyCodec<SchemaInput<Schema>, SchemaOutput<Schema>>;
export function json<T>(options?: JsonOptions): BodyCodec<T>;
export function json(first?: StandardSchema | JsonOptions, second?: JsonOptions): BodyCodec<unknown> {
  const schema = isSchema(first) ? first : undefined;
  const { maxDepth = DEFAULT_MAX_JSON_DEPTH } = (schema === undefined ? (first as JsonOptions | undefined) : second) ?? {};
  checkInteger('json maxDepth', maxDepth, 1, 10_000);
  return {
    name: 'json',
    encode: encodeJson,
    decode(bytes) {
      const value = parseJson(bytes, maxDepth);
      return schema === undefined ? value : validate(schema, value);
    },
  };
}

function isSchema(value: unknown): value is StandardSchema {
  if (value === undefined) return false;
  // Schemas of some libraries are functions.
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) {
    throw invalid('json', 'a schema that follows Standard Schema, or options', value);
  }
  if (!('~standard' in value)) {
    if (typeof value === 'function') throw invalid('json', 'a schema that follows Standard Schema, or options', value);
    return false;
  }
  const standard = value['~standard'];
  if (typeof standard !== 'object' || standard === null || !('validate' in standard) || typeof standard.validate !== 'function') {
    throw invalid('json', 'a schema with ~standard.validate', value);
  }
  return true;
}

/** JSON as UTF-8. Throws StateError UNENCODABLE_BODY for what JSON has no words for. */
export function encodeJson(value: unknown): Uint8Array {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (thrown) {
    throw new StateError('UNENCODABLE_BODY', `json: ${describeThrown(thrown).slice(0, 200)}`, { cause: thrown });
  }
  // JSON.stringify is typed as if this could not be.
  if (text === undefined) throw new StateError('UNENCODABLE_BODY', `json: expected what JSON can say, given ${show(value)}`);
  return encodeUtf8(text);
}

/** Throws InvalidBodyError with the schema's issues. */
export function validate<Schema extends StandardSchema>(schema: Schema, value: unknown): SchemaOutput<Schema> {
  const result = schema['~standard'].validate(value);
  if (result instanceof Promise) {
    result.catch(() => {});
    const vendor = show(schema['~standard'].vendor);
    throw new ConfigError(
      'INVALID_OPTION',
      `json: expected a schema that validates synchronously, given one (${vendor}) that needs a promise`,
    );
  }
  if (result.issues === undefined) return result.value;
  const issues = result.issues.slice(0, 64).map(({ path, message }) => ({
    path: showPath((path ?? []).map((part) => (typeof part === 'object' ? part.key : part))),
    message,
  }));
  throw new InvalidBodyError('json', issues);
}
