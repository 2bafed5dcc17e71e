// node bench/allocations.mjs [--server raw,portico] [--messages 40000] [--limit bytes]
// What one message of the hot path costs the heap, in bytes and in promises. One JSON line per figure; exit code 1 above a limit.

import { createHook } from 'node:async_hooks';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { PerformanceObserver, performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import v8 from 'node:v8';
import { median } from './machine.mjs';

// New space is so large that no garbage collection falls into a window: growth of the heap is then exactly what was allocated.
const serverFlags = ['--expose-gc', '--min-semi-space-size=256', '--max-semi-space-size=256'];
const payloadBytes = 64;
const framesPerChunk = 960;
const chunksInFlight = 4;
const connections = 2;
const warmupMessages = 1_000_000;
const settleMessages = 50_000;
const heapWindows = 5;
const slack = 1.25;
const timeoutMs = 60_000;

const heapUsed = () => v8.getHeapStatistics().used_heap_size;

function watchCollections() {
  const times = [];
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) times.push(entry.startTime);
  });
  observer.observe({ entryTypes: ['gc'] });
  return (from, to) => times.some((time) => time >= from && time <= to);
}

/** Bytes of heap that one `Buffer.subarray` takes in this process: the unit in which a message is judged. */
function calibrate(count) {
  const source = Buffer.alloc(payloadBytes * 2);
  const kept = new Array(count).fill(undefined);
  const fill = () => {
    for (let i = 0; i < count; i++) kept[i] = source.subarray(4, 4 + payloadBytes);
  };
  fill();
  fill();
  globalThis.gc();
  const before = heapUsed();
  fill();
  const bytes = (heapUsed() - before) / count;
  kept.length = 0;
  globalThis.gc();
  return bytes;
}

/** Calls `done` with the figures once enough messages went through `tick`. All windows lie in one run of messages, back to back. */
function meter(messages, viewBytes, done) {
  const collected = watchCollections();
  const heap = [];
  const resources = {};
  let count = 0;
  let next = warmupMessages;
  let phase = 'warm-up';
  let before = 0;
  let startedAt = 0;
  let promises = 0;
  const hook = createHook({
    init(_id, type) {
      resources[type] = (resources[type] ?? 0) + 1;
    },
  });
  let stopPromises;

  function advance() {
    switch (phase) {
      case 'warm-up':
        globalThis.gc();
        phase = 'settle';
        next = count + settleMessages;
        return;
      case 'heap':
        heap.push({ bytes: (heapUsed() - before) / messages, from: startedAt, to: performance.now() });
        break;
      case 'promises':
        stopPromises();
        phase = 'resources';
        hook.enable();
        next = count + messages;
        return;
      case 'resources':
        hook.disable();
        phase = 'done';
        next = Number.POSITIVE_INFINITY;
        setTimeout(finish, 200);
        return;
    }
    next = count + messages;
    if (heap.length < heapWindows) {
      phase = 'heap';
      startedAt = performance.now();
      before = heapUsed();
      return;
    }
    phase = 'promises';
    stopPromises = v8.promiseHooks.onInit(() => promises++);
  }

  function finish() {
    const clean = heap.filter((window) => !collected(window.from, window.to)).map((window) => window.bytes);
    const perMessage = (value) => Number((value / messages).toFixed(6));
    done({
      messagesPerWindow: messages,
      heapBytesPerMessage: Number(median(clean).toFixed(1)),
      windows: clean.map((bytes) => Number(bytes.toFixed(1))),
      windowsWithCollection: heap.length - clean.length,
      subarrayBytes: Number(viewBytes.toFixed(1)),
      promises,
      promisesPerMessage: perMessage(promises),
      asyncResourcesPerMessage: Object.fromEntries(Object.entries(resources).map(([type, value]) => [type, perMessage(value)])),
    });
  }

  return function tick() {
    if (++count === next) advance();
  };
}

/** The control: one `subarray` for each message and one write for each chunk. It proves what the method can see. */
async function listenRaw(tick) {
  let out = Buffer.allocUnsafeSlow(256 * 1024);
  const server = net.createServer({ noDelay: true }, (socket) => {
    let rest;
    socket.on('data', (chunk) => {
      const bytes = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
      let at = 0;
      let used = 0;
      while (bytes.length - at >= 4) {
        const next = at + 4 + ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]);
        if (next > bytes.length) break;
        const pkg = bytes.subarray(at + 4, next);
        out[used] = out[used + 1] = out[used + 2] = 0;
        out[used + 3] = pkg.length;
        out.set(pkg, used + 4);
        used += 4 + pkg.length;
        at = next;
        tick();
      }
      rest = at < bytes.length ? bytes.subarray(at) : undefined;
      if (used === 0) return;
      socket.write(out.subarray(0, used));
      if (socket.writableLength !== 0) out = Buffer.allocUnsafeSlow(256 * 1024);
    });
    socket.on('error', () => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

async function listenPortico(tick) {
  const { LengthFieldHandler, TcpServer, withEventListener, withLocalAddress, withPkgHandler } = await import('../dist/index.js');
  const listener = {
    onMessage(session, pkg) {
      session.send(pkg);
      tick();
    },
  };
  const server = new TcpServer(withLocalAddress('127.0.0.1:0'), withPkgHandler(new LengthFieldHandler()), withEventListener(listener));
  await server.listen();
  return server.localAddress.port;
}

const servers = { raw: listenRaw, portico: listenPortico };

async function serverProcess(name, messages) {
  const tick = meter(messages, calibrate(messages), (figures) => process.send({ server: name, ...figures }));
  process.send({ port: await servers[name](tick) });
}

/** Keeps a few pre-built chunks in flight and compares every byte that comes back. */
function clientProcess(port) {
  const frame = Buffer.alloc(4 + payloadBytes, 'p');
  frame.writeUInt32BE(payloadBytes, 0);
  const chunk = Buffer.concat(
    Array.from({ length: framesPerChunk }, (_, i) => {
      frame.writeUInt32BE(i, 4);
      return Buffer.from(frame);
    }),
  );
  for (let i = 0; i < connections; i++) {
    let at = 0;
    const socket = net.connect({ host: '127.0.0.1', port, noDelay: true }, () => {
      for (let k = 0; k < chunksInFlight; k++) socket.write(chunk);
    });
    socket.on('data', (bytes) => {
      for (let from = 0; from < bytes.length; ) {
        const length = Math.min(bytes.length - from, chunk.length - at);
        if (chunk.compare(bytes, from, from + length, at, at + length) !== 0) throw new Error('different bytes came back');
        from += length;
        at += length;
        if (at < chunk.length) continue;
        at = 0;
        socket.write(chunk);
      }
    });
    socket.on('close', () => process.exit(1));
  }
}

async function measure(name, messages) {
  const server = fork(import.meta.filename, ['as-server', name, String(messages)], { execArgv: serverFlags });
  let client;
  let timer;
  try {
    return await new Promise((resolve, reject) => {
      const ended = (what) => (code) => reject(new Error(`${name}: the ${what} ended with ${code}`));
      timer = setTimeout(() => reject(new Error(`${name}: no figures in time`)), timeoutMs);
      server.once('exit', ended('server'));
      server.on('message', (message) => {
        if (message.port === undefined) return resolve(message);
        client = fork(import.meta.filename, ['as-client', String(message.port)]);
        client.once('exit', ended('client'));
      });
    });
  } finally {
    clearTimeout(timer);
    client?.kill('SIGKILL');
    server.kill('SIGKILL');
  }
}

function verdict(figures, limit) {
  const problems = [];
  const allowed = Number((limit ?? figures.subarrayBytes * slack).toFixed(1));
  if (figures.windows.length < 3) problems.push('too few windows without a garbage collection');
  else if (figures.heapBytesPerMessage > allowed) problems.push(`${figures.heapBytesPerMessage} bytes per message, limit ${allowed}`);
  if (figures.promises > 0) problems.push(`${figures.promises} promises, limit 0`);
  return { limitBytes: allowed, limitPromises: 0, ok: problems.length === 0, problems };
}

async function main() {
  const { values } = parseArgs({ options: { server: { type: 'string' }, messages: { type: 'string' }, limit: { type: 'string' } } });
  const names = values.server?.split(',') ?? Object.keys(servers);
  const messages = Number(values.messages ?? 40_000);
  if (!(messages >= 1_000 && messages <= 1_000_000)) throw new Error('--messages must be from 1000 to 1000000');
  for (const name of names) {
    if (servers[name] === undefined) throw new Error(`--server ${name}: known are ${Object.keys(servers).join(', ')}`);
    const figures = await measure(name, messages);
    const result = { ...figures, ...verdict(figures, values.limit === undefined ? undefined : Number(values.limit)) };
    console.log(JSON.stringify(result));
    if (!result.ok) process.exitCode = 1;
  }
}

const [role, ...rest] = process.argv.slice(2);
// A parent that dies must not leave a load behind that spoils every later figure.
if (process.send !== undefined) process.on('disconnect', () => process.exit(1));
if (role === 'as-server') await serverProcess(rest[0], Number(rest[1]));
else if (role === 'as-client') clientProcess(Number(rest[0]));
else await main();
