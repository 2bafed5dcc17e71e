import { type DescField, type DescMessage, ScalarType } from '@bufbuild/protobuf';
import { invalid } from '../base/option.ts';

/** The wire types that are taken; 3 and 4 are groups. */
export const WIRE = { VARINT: 0, BIT64: 1, BYTES: 2, BIT32: 5 } as const;

/** How a field looks on the wire. */
export interface FieldPlan {
  readonly name: string;
  readonly wire: number;
  /** Of a list of numbers that may come packed into one field: the wire type of each; -1 otherwise. */
  readonly packed: number;
  readonly message: MessagePlan | undefined;
  readonly isText: boolean;
}

export interface MessagePlan {
  readonly fields: ReadonlyMap<number, FieldPlan>;
  /** The pair of key and value that a map is made of, and nothing else. */
  readonly isMapEntry: boolean;
}

const plans = new WeakMap<DescMessage, MessagePlan>();

/** Made once for each message type. Throws ConfigError INVALID_OPTION for types with groups, at any depth. */
export function planOf(desc: DescMessage): MessagePlan {
  const made = new Map<DescMessage, MessagePlan>();
  const plan = makePlan(desc, made);
  // Only when all of them are whole: types that contain each other have each other's plans.
  for (const [each, itsPlan] of made) plans.set(each, itsPlan);
  return plan;
}

function makePlan(desc: DescMessage, made: Map<DescMessage, MessagePlan>): MessagePlan {
  const known = plans.get(desc) ?? made.get(desc);
  if (known !== undefined) return known;
  const fields = new Map<number, FieldPlan>();
  const plan: MessagePlan = { fields, isMapEntry: false };
  // Before its fields, since a message may contain itself.
  made.set(desc, plan);
  for (const field of desc.fields) fields.set(field.number, planField(field, made));
  return plan;
}

function planField(field: DescField, made: Map<DescMessage, MessagePlan>): FieldPlan {
  if ('delimitedEncoding' in field && field.delimitedEncoding === true) {
    throw invalid('protobuf', 'a message without groups', `${field.parent.typeName}.${field.name}`);
  }
  const { name } = field;
  switch (field.fieldKind) {
    case 'scalar':
      return scalarPlan(name, field.scalar, false);
    case 'enum':
      return scalarPlan(name, ScalarType.INT32, false);
    case 'message':
      return messagePlan(name, makePlan(field.message, made));
    case 'list':
      if (field.listKind === 'message') return messagePlan(name, makePlan(field.message, made));
      return scalarPlan(name, field.listKind === 'enum' ? ScalarType.INT32 : field.scalar, true);
    case 'map': {
      const key = scalarPlan('key', field.mapKey, false);
      const value =
        field.mapKind === 'message'
          ? messagePlan('value', makePlan(field.message, made))
          : scalarPlan('value', field.mapKind === 'enum' ? ScalarType.INT32 : field.scalar, false);
      const entry = new Map([
        [1, key],
        [2, value],
      ]);
      return messagePlan(name, { fields: entry, isMapEntry: true });
    }
  }
}

function messagePlan(name: string, message: MessagePlan): FieldPlan {
  return { name, wire: WIRE.BYTES, packed: -1, message, isText: false };
}

function scalarPlan(name: string, scalar: ScalarType, isList: boolean): FieldPlan {
  const wire = wireOf(scalar);
  return { name, wire, packed: isList && wire !== WIRE.BYTES ? wire : -1, message: undefined, isText: scalar === ScalarType.STRING };
}

function wireOf(scalar: ScalarType): number {
  switch (scalar) {
    case ScalarType.STRING:
    case ScalarType.BYTES:
      return WIRE.BYTES;
    case ScalarType.DOUBLE:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return WIRE.BIT64;
    case ScalarType.FLOAT:
    case ScalarType.FIXED32:
    case ScalarType.SFIXED32:
      return WIRE.BIT32;
    default:
      return WIRE.VARINT;
  }
}
