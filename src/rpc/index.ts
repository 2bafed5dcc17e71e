/**
 * JSON-RPC 2.0, both ways on one session: over WebSocket text, over lines of TCP, over `Content-Length` headers, and over the command
 * protocol. Batches, notifications, time-outs, cancelling, streams of results.
 *
 * @module
 * @example
 * ```ts
 * import { TcpClient, TcpServer, withEventListener, withLocalAddress, withPkgHandler, withServerAddress } from 'portico';
 * import { defineRpc, RpcClient, RpcLineHandler, RpcListener } from 'portico/rpc';
 *
 * const calculator = defineRpc<{ subtract: { params: [number, number]; result: number } }>();
 * const listener = new RpcListener({ protocol: calculator }).method('subtract', ([a, b]) => a - b);
 * const server = new TcpServer(withLocalAddress('127.0.0.1:0'), withPkgHandler(new RpcLineHandler()), withEventListener(listener));
 * await server.listen();
 *
 * const rpc = new RpcClient<{ subtract: { params: [number, number]; result: number } }>();
 * const address = server.localAddress.text;
 * const client = new TcpClient(withServerAddress(address), withPkgHandler(new RpcLineHandler()), withEventListener(rpc));
 * await client.connect();
 * console.log(await rpc.call('subtract', [42, 23]));
 * await client.close();
 * await server.close();
 * ```
 */
export { ContentLengthHandler, type ContentLengthOptions } from '../codec/content-length.ts';
export { RpcClient } from './rpc-client.ts';
export type { RpcContext, RpcOrigin } from './rpc-context.ts';
export { RpcLineHandler, type RpcLineOptions, RpcMessageHandler } from './rpc-framings.ts';
export { RpcListener, type RpcListenerOptions } from './rpc-listener.ts';
export { defineRpc, type RpcMethodSchemas, RpcMethods, type RpcProtocol, type RpcSpecOf } from './rpc-methods.ts';
export {
  RPC_COMMAND_ID,
  RPC_ERROR_COMMAND_ID,
  type RpcCommandCarrier,
  type RpcCommandClient,
  type RpcOverCommands,
  type RpcOverCommandsOptions,
  rpcOverCommands,
} from './rpc-over-commands.ts';
export { RpcPeer, type RpcPeerParts } from './rpc-peer.ts';
export type { RpcStream } from './rpc-stream.ts';
export type {
  RpcAnswer,
  RpcArguments,
  RpcBatchCall,
  RpcCallOptions,
  RpcCounters,
  RpcFailure,
  RpcHandler,
  RpcName,
  RpcPeerOptions,
  RpcSchema,
  RpcSignature,
  RpcSpec,
  RpcStreamOptions,
  RpcTransport,
} from './rpc-types.ts';
export { RPC_CODE, RpcError, type RpcId, type RpcParams } from './rpc-wire.ts';
