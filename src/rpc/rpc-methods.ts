import { checkFunction, invalid } from '../base/option.ts';
import { ignoreRejection, isThenable } from '../base/thenable.ts';
import { InvalidBodyError } from '../protocol/invalid-body.ts';
import { validate } from '../protocol/json.ts';
import type { RpcAnswer, RpcHandler, RpcName, RpcSchema, RpcSpec } from './rpc-types.ts';
import { RpcError } from './rpc-wire.ts';

/** What two sides have agreed on: made by `defineRpc`. At run time it is only the schemas of the params. */
export interface RpcProtocol<Spec extends RpcSpec = RpcSpec> {
  readonly schemas: ReadonlyMap<string, RpcSchema>;
  /** Never set; carries the types. */
  readonly spec?: Spec;
}

/** The schemas of a method. Params are validated; the result only gives its type. */
export interface RpcMethodSchemas {
  readonly params?: RpcSchema;
  readonly result?: RpcSchema;
  /** Of the items of a stream. */
  readonly item?: RpcSchema;
}

type Input<Schema> = Schema extends RpcSchema ? NonNullable<Schema['~standard']['types']>['input'] : undefined;
type Output<Schema> = Schema extends RpcSchema ? NonNullable<Schema['~standard']['types']>['output'] : undefined;

type SignatureOf<Schemas extends RpcMethodSchemas> = {
  readonly params: Output<Schemas['params']>;
  readonly sentParams: Input<Schemas['params']>;
  readonly result: Output<Schemas['result']>;
} & (Schemas extends { readonly item: infer Item } ? { readonly item: Output<Item> } : unknown);

/** The methods that schemas describe. */
export type RpcSpecOf<Schemas extends Readonly<Record<string, RpcMethodSchemas>>> = {
  readonly [Name in keyof Schemas]: SignatureOf<Schemas[Name]>;
};

/** The types of methods, claimed: `defineRpc<{ add: { params: [number, number]; result: number } }>()`. */
export function defineRpc<Spec extends RpcSpec>(): RpcProtocol<Spec>;
/** The types of methods from schemas, which params are validated with. Throws ConfigError INVALID_OPTION. */
export function defineRpc<const Schemas extends Readonly<Record<string, RpcMethodSchemas>>>(
  schemas: Schemas,
): RpcProtocol<RpcSpecOf<Schemas>>;
export function defineRpc(schemas: Readonly<Record<string, RpcMethodSchemas>> = {}): RpcProtocol {
  const map = new Map<string, RpcSchema>();
  for (const [name, { params }] of Object.entries(schemas)) {
    checkName('defineRpc', name);
    if (params !== undefined) map.set(name, checkSchema(`defineRpc ${name}.params`, params));
  }
  return { schemas: map };
}

/**
 * The methods of one side, for any number of peers. They may be added at any time; the later one of a name takes its place.
 *
 * @typeParam Spec - the methods with their types; without it params are unknown.
 */
export class RpcMethods<Spec extends RpcSpec = RpcSpec> {
  readonly #handlers = new Map<string, RpcHandler>();
  readonly #schemas: ReadonlyMap<string, RpcSchema>;

  constructor(protocol?: RpcProtocol<Spec>) {
    this.#schemas = protocol?.schemas ?? new Map();
  }

  get size(): number {
    return this.#handlers.size;
  }

  /** Throws ConfigError INVALID_OPTION for a name that is empty or begins with `rpc.`, and for a handler that is no function. */
  method<Name extends RpcName<Spec>>(name: Name, handler: RpcHandler<Spec[Name]['params'], RpcAnswer<Spec[Name]>>): this {
    checkName('method', name);
    checkFunction(`method ${name}`, handler);
    const schema = this.#schemas.get(name);
    // The schema, or for want of one the program's claim, says that the params are of this type.
    const erased = handler as RpcHandler;
    this.#handlers.set(name, schema === undefined ? erased : (params, context) => erased(checkedParams(schema, params), context));
    return this;
  }

  /** Whether there was such a method. Calls of it that run go on. */
  remove(name: string): boolean {
    return this.#handlers.delete(name);
  }

  /** For the peer. */
  handlerOf(name: string): RpcHandler | undefined {
    return this.#handlers.get(name);
  }
}

function checkName(where: string, name: string): void {
  if (typeof name !== 'string' || name === '') throw invalid(where, 'the name of a method', name);
  if (name.startsWith('rpc.')) throw invalid(where, 'a name that does not begin with rpc., which JSON-RPC keeps for itself', name);
}

function checkSchema(where: string, schema: RpcSchema): RpcSchema {
  const isSchema = (typeof schema === 'object' || typeof schema === 'function') && schema !== null && '~standard' in schema;
  if (!isSchema) throw invalid(where, 'a schema that follows Standard Schema', schema);
  if (isAlwaysAsync(schema)) throw invalid(where, 'a schema that validates synchronously', schema['~standard'].vendor);
  return schema;
}

/** Schemas do not say whether they need a promise; some do for everything, others only for what gets as far as their asynchronous part. */
function isAlwaysAsync(schema: RpcSchema): boolean {
  try {
    const result: unknown = schema['~standard'].validate(undefined);
    if (!isThenable(result)) return false;
    ignoreRejection(result);
    return true;
  } catch {
    return false;
  }
}

function checkedParams(schema: RpcSchema, params: unknown): unknown {
  try {
    return validate(schema, params);
  } catch (thrown) {
    if (thrown instanceof InvalidBodyError) throw RpcError.invalidParams({ issues: thrown.issues });
    throw thrown;
  }
}
