import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import jayson from 'jayson';
import { JSONRPCClient, JSONRPCErrorException, JSONRPCServer, JSONRPCServerAndClient } from 'json-rpc-2.0';
import { describe, expect, it } from 'vitest';
import {
  createMessageConnection,
  type MessageConnection,
  ResponseError,
  StreamMessageReader,
  StreamMessageWriter,
} from 'vscode-jsonrpc/node';
import WebSocket, { WebSocketServer } from 'ws';
import { ContentLengthHandler } from '../../src/codec/content-length.ts';
import type { PkgHandler } from '../../src/codec/pkg-handler.ts';
import { withReconnect, withServerAddress } from '../../src/endpoint/options.ts';
import { TcpClient } from '../../src/endpoint/tcp.ts';
import { WsClient } from '../../src/endpoint/ws.ts';
import { RpcClient } from '../../src/rpc/rpc-client.ts';
import { RpcLineHandler, RpcMessageHandler } from '../../src/rpc/rpc-framings.ts';
import { RpcListener } from '../../src/rpc/rpc-listener.ts';
import { RpcError } from '../../src/rpc/rpc-wire.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import { until } from '../helpers/raw-peer.ts';
import { onlyPeer, rpcTcpServer, rpcWsServer } from '../helpers/rpc-wires.ts';
import { useScene } from '../helpers/scene.ts';

const scene = useScene();
const told: unknown[] = [];

function listener(): RpcListener {
  return new RpcListener()
    .method('subtract', (params) => {
      const { minuend, subtrahend } = params as { minuend: number; subtrahend: number };
      return Array.isArray(params) ? params[0] - params[1] : minuend - subtrahend;
    })
    .method('note', (params) => void told.push(params))
    .method(
      'hang',
      (_params, { signal }) => new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    )
    .method('fail', () => {
      throw new RpcError(4001, 'Not today', { until: 'tomorrow' });
    });
}

async function tcpClient(port: number, handler: PkgHandler<string>, rpc: RpcClient = new RpcClient()): Promise<RpcClient> {
  const client = new TcpClient<string>(
    withServerAddress(`127.0.0.1:${port}`),
    withReconnect(false),
    withPkgHandler(handler),
    withEventListener<string, string>(rpc),
  );
  scene.atEnd(() => client.close({ drainTimeoutMs: 0 }));
  await client.connect();
  return rpc;
}

describe('jayson, over lines of TCP', () => {
  it('as the client of our server: by position, by name, errors, batches, notifications', async () => {
    const server = await rpcTcpServer(scene, listener(), new RpcLineHandler());
    const { port } = server.localAddress;
    const client = jayson.Client.tcp({ port, host: '127.0.0.1' });
    const ask = (method: string, params: jayson.RequestParamsLike): Promise<unknown> =>
      new Promise((resolve, reject) => {
        client.request(method, params, (error: unknown, response: unknown) => (error ? reject(error) : resolve(response)));
      });
    expect(await ask('subtract', [42, 23])).toMatchObject({ jsonrpc: '2.0', result: 19 });
    expect(await ask('subtract', { minuend: 42, subtrahend: 23 })).toMatchObject({ result: 19 });
    expect(await ask('fail', [])).toMatchObject({ error: { code: 4001, message: 'Not today', data: { until: 'tomorrow' } } });
    expect(await ask('nope', [])).toMatchObject({ error: { code: -32601 } });
    const batch = [client.request('subtract', [5, 3]), client.request('note', [1], null), client.request('nope', [])];
    const answers = await new Promise((resolve, reject) => {
      client.request(batch as never, (error: unknown, response: unknown) => (error ? reject(error) : resolve(response)));
    });
    expect(answers).toMatchObject([{ result: 2 }, { error: { code: -32601 } }]);
    expect(told.splice(0)).toEqual([[1]]);
  });

  it('as the server of our client: results, errors, batches, notifications', async () => {
    const notes: unknown[] = [];
    const methods: Record<string, jayson.MethodLike> = {
      add: (args: number[], callback: jayson.JSONRPCCallbackTypePlain) => callback(null, (args[0] ?? 0) + (args[1] ?? 0)),
      note: (args: unknown, callback: jayson.JSONRPCCallbackTypePlain) => {
        notes.push(args);
        callback(null);
      },
      fail: (_args: unknown, callback: jayson.JSONRPCCallbackTypePlain) => callback({ code: 7, message: 'seven', data: [1] }),
    };
    const server = new jayson.Server(methods).tcp();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    scene.atEnd(() => new Promise((resolve) => server.close(resolve)));
    const address = server.address();
    const rpc = await tcpClient(typeof address === 'object' && address !== null ? address.port : 0, new RpcLineHandler());
    expect(await rpc.call('add', [1, 2])).toBe(3);
    await expect(rpc.call('fail', [])).rejects.toMatchObject({ code: 7, message: 'seven', data: [1] });
    await expect(rpc.call('nope', [])).rejects.toMatchObject({ code: -32601 });
    expect(rpc.notify('note', [9])).toBe(true);
    expect(
      await rpc.batch([
        { method: 'add', params: [3, 4] },
        { method: 'note', params: [8], isNotification: true },
      ]),
    ).toMatchObject([{ value: 7 }, { value: undefined }]);
    expect(notes).toEqual([[9], [8]]);
  });
});

describe('json-rpc-2.0, over WebSocket text', () => {
  it('as both sides of a conversation with our server', async () => {
    const ours = listener();
    const socket = new WebSocket(await rpcWsServer(scene, ours));
    scene.atEnd(() => socket.terminate());
    await once(socket, 'open');
    const peer = new JSONRPCServerAndClient(
      new JSONRPCServer({ errorListener: () => {} }),
      new JSONRPCClient((payload) => socket.send(JSON.stringify(payload))),
    );
    socket.on('message', (data) => void peer.receiveAndSend(JSON.parse(String(data)), undefined, undefined));
    peer.addMethod('double', ([value]: number[]) => (value ?? 0) * 2);
    peer.addMethod('fail', () => {
      throw new JSONRPCErrorException('seven', 7, [1]);
    });
    expect(await peer.request('subtract', [42, 23], undefined)).toBe(19);
    await expect(Promise.resolve(peer.request('fail', [], undefined))).rejects.toMatchObject({ code: 4001, message: 'Not today' });
    const ids = [1, 2].map((id) => ({ jsonrpc: '2.0' as const, method: 'subtract', params: [id, 1], id }));
    expect(await peer.requestAdvanced(ids, undefined)).toMatchObject([{ result: 0 }, { result: 1 }]);
    peer.notify('note', ['ws'], undefined);
    expect(await onlyPeer(ours).call('double', [21])).toBe(42);
    await expect(onlyPeer(ours).call('fail', [])).rejects.toMatchObject({ code: 7, message: 'seven', data: [1] });
    await expect(onlyPeer(ours).call('nope', [])).rejects.toMatchObject({ code: -32601 });
    expect(told.splice(0)).toEqual([['ws']]);
  });

  it('as the server of our client, calls back to it included', async () => {
    const http = new WebSocketServer({ port: 0, host: '127.0.0.1' });
    scene.atEnd(() => new Promise((resolve) => http.close(resolve)));
    await once(http, 'listening');
    http.on('connection', (socket) => {
      const peer = new JSONRPCServerAndClient(
        new JSONRPCServer({ errorListener: () => {} }),
        new JSONRPCClient((payload) => socket.send(JSON.stringify(payload))),
      );
      peer.addMethod('echo', (params: unknown) => params);
      peer.addMethod('askBack', async () => `hello ${await peer.request('name', [], undefined)}`);
      socket.on('message', (data) => void peer.receiveAndSend(JSON.parse(String(data)), undefined, undefined));
    });
    const address = http.address();
    const rpc = new RpcClient();
    rpc.method('name', () => 'anna');
    const client = new WsClient<string>(
      withServerAddress(`ws://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}/`),
      withReconnect(false),
      withPkgHandler(new RpcMessageHandler()),
      withEventListener<string, string>(rpc),
    );
    scene.atEnd(() => client.close({ drainTimeoutMs: 0 }));
    await client.connect();
    expect(await rpc.call('echo', { a: 'ä' })).toEqual({ a: 'ä' });
    expect(await rpc.call('askBack')).toBe('hello anna');
    await expect(rpc.call('nope')).rejects.toMatchObject({ code: -32601 });
    expect(
      await rpc.batch([
        { method: 'echo', params: [1] },
        { method: 'echo', params: [2] },
      ]),
    ).toMatchObject([{ value: [1] }, { value: [2] }]);
  });
});

describe('vscode-jsonrpc, over Content-Length', () => {
  function connectionOn(socket: Socket): MessageConnection {
    const connection = createMessageConnection(new StreamMessageReader(socket), new StreamMessageWriter(socket));
    connection.onRequest('add', (a: number, b: number) => a + b);
    connection.onRequest('fail', () => {
      throw new ResponseError(7, 'seven', [1]);
    });
    connection.listen();
    scene.atEnd(() => {
      connection.dispose();
      socket.destroy();
    });
    return connection;
  }

  it('as both sides of a conversation with our server', async () => {
    const ours = listener();
    const server = await rpcTcpServer(scene, ours, new ContentLengthHandler());
    const socket = connect(server.localAddress.port, '127.0.0.1');
    await once(socket, 'connect');
    const connection = connectionOn(socket);
    expect(await connection.sendRequest('subtract', 42, 23)).toBe(19);
    expect(await connection.sendRequest('subtract', { minuend: 42, subtrahend: 23 })).toBe(19);
    await expect(connection.sendRequest('fail')).rejects.toMatchObject({ code: 4001, message: 'Not today', data: { until: 'tomorrow' } });
    await connection.sendNotification('note', 'lsp', 'ä');
    await until(() => told.length === 1, 'the notification');
    expect(told.splice(0)).toEqual([['lsp', 'ä']]);
    expect(await onlyPeer(ours).call('add', [40, 2])).toBe(42);
    await expect(onlyPeer(ours).call('fail')).rejects.toMatchObject({ code: 7, message: 'seven', data: [1] });
    await expect(onlyPeer(ours).call('nope')).rejects.toMatchObject({ code: -32601 });
  });

  it('as the server of our client, calls back to it included', async () => {
    const server = createServer((socket) => {
      const connection = connectionOn(socket);
      connection.onRequest('askBack', async () => `hello ${await connection.sendRequest('name')}`);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    scene.atEnd(() => new Promise((resolve) => server.close(resolve)));
    const address = server.address();
    const rpc = new RpcClient();
    rpc.method('name', () => 'anna');
    await tcpClient(typeof address === 'object' && address !== null ? address.port : 0, new ContentLengthHandler(), rpc);
    expect(await rpc.call('add', [1, 2])).toBe(3);
    expect(await rpc.call('askBack')).toBe('hello anna');
    await expect(rpc.call('fail')).rejects.toMatchObject({ code: 7, message: 'seven' });
  });
});
