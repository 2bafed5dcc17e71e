import { ConfigError, describeThrown } from '../base/errors.ts';

/** Loads an optional peer. Throws ConfigError MISSING_OPTION when it is not installed. */
export async function loadPackage(backplane: string, name: string): Promise<unknown> {
  try {
    return await import(name);
  } catch (thrown) {
    const text = `${backplane}: expected the package ${name}, given none that can be loaded (npm install ${name}): ${describeThrown(thrown)}`;
    throw new ConfigError('MISSING_OPTION', text, { cause: thrown });
  }
}
