// node bench/memory.mjs [--connections 10000] [--runs 3] [--server raw,portico] [--out file]
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { describeRun, headline, median, openFileLimit } from './machine.mjs';

const sourceAddresses = 8;
const connectingAtOnce = 200;
const spareFiles = 100;
const frame = Buffer.concat([Buffer.from([0, 0, 0, 64]), Buffer.alloc(64, 'x')]);

/** Echo on node:net with the listeners a framework needs, one function each for all sockets. */
async function listenRaw(counter) {
  function onData(chunk) {
    this.write(chunk);
  }
  function onEnd() {
    this.end();
  }
  function onError() {
    this.destroy();
  }
  function onClose() {
    counter.open--;
  }
  function onDrain() {
    this.resume();
  }
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    counter.open++;
    socket.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose).on('drain', onDrain);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

async function listenPortico(counter) {
  const { LengthFieldHandler, TcpServer, withEventListener, withLocalAddress, withPkgHandler } = await import('../dist/index.js');
  const listener = {
    onOpen() {
      counter.open++;
    },
    onMessage(session, pkg) {
      session.send(pkg);
    },
    onClose() {
      counter.open--;
    },
  };
  const server = new TcpServer(withLocalAddress('127.0.0.1:0'), withPkgHandler(new LengthFieldHandler()), withEventListener(listener));
  await server.listen();
  return server.localAddress.port;
}

const servers = { raw: listenRaw, portico: listenPortico };

async function settledMemory() {
  for (let i = 0; i < 4; i++) {
    await sleep(50);
    globalThis.gc();
  }
  const { heapUsed, rss, external } = process.memoryUsage();
  return { heapUsed, rss, external };
}

async function serverProcess(name) {
  const counter = { open: 0 };
  const port = await servers[name](counter);
  process.on('message', async (wantedOpen) => {
    const deadline = Date.now() + 30_000;
    while (counter.open < wantedOpen && Date.now() < deadline) await sleep(10);
    process.send({ open: counter.open, ...(await settledMemory()) });
  });
  process.send({ port });
}

function connect(port, index) {
  return new Promise((resolve, reject) => {
    const localAddress = `127.0.0.${1 + (index % sourceAddresses)}`;
    const socket = net.connect({ host: '127.0.0.1', port, localAddress, noDelay: true }, () => resolve(socket));
    socket.once('error', reject);
  });
}

function echoOnce(socket) {
  return new Promise((resolve, reject) => {
    let received = 0;
    socket.on('data', (chunk) => {
      received += chunk.length;
      if (received === frame.length) resolve();
      if (received > frame.length) reject(new Error('more bytes than were sent'));
    });
    socket.write(frame);
  });
}

async function inGroups(count, start) {
  for (let from = 0; from < count; from += connectingAtOnce) {
    await Promise.all(Array.from({ length: Math.min(connectingAtOnce, count - from) }, (_, i) => start(from + i)));
  }
}

async function clientProcess(port, count) {
  const sockets = new Array(count);
  let lost = 0;
  await inGroups(count, async (i) => {
    const socket = await connect(port, i);
    socket.once('close', () => lost++);
    sockets[i] = socket;
  });
  process.on('message', async () => {
    await inGroups(count, (i) => echoOnce(sockets[i]));
    process.send({ echoed: count, lost });
  });
  process.send({ connected: count });
}

async function answer(child, what) {
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`${what} ended with ${code}`);
  });
  ended.catch(() => {});
  const tooLate = sleep(120_000, undefined, { ref: false }).then(() => {
    throw new Error(`${what} did not answer`);
  });
  const [message] = await Promise.race([once(child, 'message'), ended, tooLate]);
  return message;
}

async function measure(name, connections) {
  const server = fork(import.meta.filename, ['as-server', name], { execArgv: ['--expose-gc'] });
  let client;
  try {
    const ask = async (open) => {
      const reply = answer(server, `server ${name}`);
      server.send(open);
      const memory = await reply;
      if (memory.open < open) throw new Error(`${name}: only ${memory.open} of ${open} connections are open`);
      return memory;
    };
    const { port } = await answer(server, `server ${name}`);
    const before = await ask(0);
    client = fork(import.meta.filename, ['as-client', String(port), String(connections)]);
    await answer(client, 'the client');
    const idle = await ask(connections);
    const echoed = answer(client, 'the client');
    client.send('echo');
    const { lost } = await echoed;
    if (lost > 0) throw new Error(`${name}: ${lost} connections were lost`);
    const after = await ask(connections);
    const per = (memory) => ({
      heapBytes: (memory.heapUsed - before.heapUsed) / connections,
      externalBytes: (memory.external - before.external) / connections,
      rssBytes: (memory.rss - before.rss) / connections,
    });
    return { server: name, idle: per(idle), afterOneEcho: per(after) };
  } finally {
    client?.kill('SIGKILL');
    server.kill('SIGKILL');
  }
}

function summarize(samples, name) {
  const own = samples.filter((sample) => sample.server === name);
  const middle = (phase) =>
    Object.fromEntries(
      ['heapBytes', 'externalBytes', 'rssBytes'].map((key) => [key, Math.round(median(own.map((sample) => sample[phase][key])))]),
    );
  return { server: name, idle: middle('idle'), afterOneEcho: middle('afterOneEcho') };
}

function table(rows) {
  const numbers = (row) => [row.idle, row.afterOneEcho].flatMap((phase) => [phase.heapBytes, phase.rssBytes, phase.externalBytes]);
  const heads = ['idle', 'after one echo'].flatMap((phase) => [`heap, ${phase}`, `RSS, ${phase}`, `external, ${phase}`]);
  const lines = [
    `| bytes per connection | ${heads.join(' | ')} |`,
    `| ${'--- | '.repeat(heads.length + 1).trim()}`,
    ...rows.map((row) => `| ${row.server} | ${numbers(row).join(' | ')} |`),
  ];
  const raw = rows.find((row) => row.server === 'raw');
  const portico = rows.find((row) => row.server === 'portico');
  if (raw !== undefined && portico !== undefined) {
    const base = numbers(raw);
    const extra = numbers(portico).map((value, i) => value - base[i]);
    lines.push(`| portico - raw | ${extra.join(' | ')} |`);
  }
  return lines.join('\n');
}

async function main() {
  const { values } = parseArgs({
    options: { connections: { type: 'string' }, runs: { type: 'string' }, server: { type: 'string' }, out: { type: 'string' } },
  });
  const connections = Number(values.connections ?? 10_000);
  const runs = Number(values.runs ?? 3);
  const names = values.server?.split(',') ?? Object.keys(servers);
  if (!(connections > 0) || !(runs > 0)) throw new Error('--connections and --runs must be above 0');
  for (const name of names) {
    if (servers[name] === undefined) throw new Error(`--server ${name}: known are ${Object.keys(servers).join(', ')}`);
  }
  if (connections + spareFiles > openFileLimit()) {
    throw new Error(`the open-file limit is ${openFileLimit()}: too low for ${connections} connections, use --connections`);
  }
  const run = describeRun();
  const samples = [];
  for (let i = 0; i < runs; i++) {
    for (let turn = 0; turn < names.length; turn++) {
      const sample = await measure(names[(turn + i) % names.length], connections);
      samples.push(sample);
      console.error(`run ${i + 1} ${JSON.stringify(sample)}`);
    }
  }
  const rows = names.map((name) => summarize(samples, name));
  console.log(`${headline(run)}\n\n${connections} connections, median of ${runs} runs, after forced garbage collection.\n`);
  console.log(table(rows));
  const whole = values.server === undefined && values.connections === undefined;
  const out = values.out ?? path.join(import.meta.dirname, 'results', whole ? 'memory.json' : 'memory.json.tmp');
  mkdirSync(path.dirname(out), { recursive: true });
  writeFileSync(out, `${JSON.stringify({ ...run, connections, runs, rows, samples }, undefined, 1)}\n`);
}

const [role, ...rest] = process.argv.slice(2);
// A parent that dies must not leave a load behind that spoils every later figure.
if (process.send !== undefined) process.on('disconnect', () => process.exit(1));
if (role === 'as-server') await serverProcess(rest[0]);
else if (role === 'as-client') await clientProcess(Number(rest[0]), Number(rest[1]));
else await main();
