import { createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { finish, startTsx } from '../helpers/docs.ts';

const program = fileURLToPath(new URL('../helpers/waiting-client.ts', import.meta.url));

/** An address at which nobody listens. */
async function nobody(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return address === null || typeof address === 'string' ? '' : `127.0.0.1:${address.port}`;
}

it('a client that waits to come back keeps its process alive, and a closed one lets it end', { timeout: 30_000 }, async () => {
  const { code, output, errors, timedOut } = await finish(startTsx(program, [await nobody()]), 20_000);
  expect({ code, timedOut, errors }).toEqual({ code: 0, timedOut: false, errors: '' });
  expect(output).toBe('failures: 1\nfailures: 2\nfailures: 3\nclosed\n');
});
