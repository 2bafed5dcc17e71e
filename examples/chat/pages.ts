/** The web page of the chat: three files, read once, served as they are. */
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';

const types = { 'index.html': 'text/html', 'style.css': 'text/css', 'page.js': 'text/javascript' } as const;

/** Nothing from elsewhere, nobody's frame, and no script but ours. */
const headers = {
  'content-security-policy': "default-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
};

export function servePages(): Server {
  const pages = new Map(
    Object.entries(types).map(([name, type]) => [`/${name}`, { type, body: readFileSync(new URL(`web/${name}`, import.meta.url)) }]),
  );
  return createServer({ headersTimeout: 10_000, requestTimeout: 10_000, maxHeaderSize: 8192 }, (request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname;
    const page = pages.get(path === '/' ? '/index.html' : path);
    if (page === undefined || (request.method !== 'GET' && request.method !== 'HEAD')) {
      response.writeHead(page === undefined ? 404 : 405, headers).end();
      return;
    }
    response.writeHead(200, { ...headers, 'content-type': `${page.type}; charset=utf-8`, 'content-length': page.body.length });
    response.end(request.method === 'HEAD' ? undefined : page.body);
  });
}
