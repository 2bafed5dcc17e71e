/** A key that remembers the type of its value. Two keys are the same only if they are the same object. */
export interface AttributeKey<T> {
  readonly name: string;
  /** Never set; carries the type. */
  readonly valueType?: T;
}

/** Makes a key of its own; `name` is for people. */
export function attributeKey<T>(name: string): AttributeKey<T> {
  return Object.freeze({ name });
}

/**
 * What a program keeps with a session. A Map whose keys may be anything (compared as Map does, so a name such as
 * `__proto__` is only a key), typed when the key was made by `attributeKey`. portico keeps nothing of its own in it.
 */
export class Attributes extends Map<unknown, unknown> {
  override get<T>(key: AttributeKey<T>): T | undefined;
  override get(key: unknown): unknown;
  override get(key: unknown): unknown {
    return super.get(key);
  }

  /** With a key made by `attributeKey` only a value of its type compiles. */
  override set<T>(key: AttributeKey<T>, value: NoInfer<T>): this;
  override set<Key>(key: Key extends AttributeKey<unknown> ? never : Key, value: unknown): this;
  override set(key: unknown, value: unknown): this {
    return super.set(key, value);
  }
}
