/** The web page of the chat: a few files, made once, served as they are. */
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';

/** Nothing from elsewhere, nobody's frame, no script but ours, and none that makes elements out of text. */
const headers = {
  'content-security-policy':
    "default-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cache-control': 'no-cache',
};

/** The page's script with the client and the protocol in it: one file, a few kilobytes. */
function bundle(): Buffer {
  const { outputFiles } = buildSync({
    entryPoints: [path('page.ts')],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
  });
  return Buffer.concat(outputFiles.map(({ contents }) => contents));
}

export function servePages(): Server {
  const pages = new Map([
    ['/', { type: 'text/html', body: readFileSync(path('index.html')) }],
    ...['style.css', 'lines.css', 'side.css'].map((name) => [`/${name}`, { type: 'text/css', body: readFileSync(path(name)) }] as const),
    ['/page.js', { type: 'text/javascript', body: bundle() }],
  ]);
  return createServer({ headersTimeout: 10_000, requestTimeout: 10_000, maxHeaderSize: 8192 }, (request, response) => {
    const page = pages.get((request.url ?? '/').replace(/\?.*/, ''));
    if (page === undefined || (request.method !== 'GET' && request.method !== 'HEAD')) {
      response.writeHead(page === undefined ? 404 : 405, headers).end();
      return;
    }
    response.writeHead(200, { ...headers, 'content-type': `${page.type}; charset=utf-8`, 'content-length': page.body.length });
    response.end(request.method === 'HEAD' ? undefined : page.body);
  });
}

function path(name: string): string {
  return fileURLToPath(new URL(`web/${name}`, import.meta.url));
}
