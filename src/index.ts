/**
 * portico: event-driven I/O for Node.js. An endpoint (a server or a client) produces sessions; a session joins a PkgHandler, which
 * turns bytes into packages and back, and an EventListener, which gets the events.
 *
 * @module
 */
export { type AttributeKey, Attributes, attributeKey } from './base/attributes.ts';
export type { ByteReader } from './base/byte-reader.ts';
export type { ByteWriter } from './base/byte-writer.ts';
export { type Clock, systemClock } from './base/clock.ts';
export { DIAGNOSTICS_CHANNELS } from './base/diagnostics.ts';
export {
  ConfigError,
  ERROR_CATALOGUE,
  type ErrorCode,
  ListenerError,
  type ListenerPhase,
  PeerError,
  PorticoError,
  StateError,
  TransportError,
} from './base/errors.ts';
export type { Logger } from './base/log.ts';
export type { Option } from './base/option.ts';
export type { PeerAddress, PeerTarget } from './base/peer-header.ts';
export { type Datagram, DatagramHandler, type DatagramTo } from './codec/datagram.ts';
export { DecimalPrefixHandler } from './codec/decimal-prefix.ts';
export { DelimiterHandler } from './codec/delimiter.ts';
export { FixedLengthHandler } from './codec/fixed-length.ts';
export { LengthFieldHandler } from './codec/length-field.ts';
export { LineHandler } from './codec/line.ts';
export { type PkgContext, PkgHandler, type PkgReader, type PkgWriter } from './codec/pkg-handler.ts';
export { isProxyHeader, readProxyHeader } from './codec/proxy-protocol.ts';
export {
  PROXY_TLV,
  type ProxyEnd,
  type ProxyHeader,
  type ProxyHeaderLimits,
  type ProxyProtocolName,
  type ProxySsl,
  type ProxyTlv,
} from './codec/proxy-protocol-header.ts';
export { type ProxyHeaderFields, writeProxyHeader } from './codec/proxy-protocol-writer.ts';
export { RawHandler } from './codec/raw.ts';
export { VarintHandler } from './codec/varint.ts';
export { Client, type ClientEvents, type ReconnectInfo } from './endpoint/client.ts';
export { withCompression } from './endpoint/compression-options.ts';
export type { CloseReport, EndPoint, EndPointCloseOptions, EndPointEvents, EndPointStats } from './endpoint/endpoint.ts';
export {
  type PickStrategy,
  type Reconnect,
  withAcceptRate,
  withBacklog,
  withBlockList,
  withClock,
  withConnectionNumber,
  withConnectTimeoutMs,
  withHandshakeTimeoutMs,
  withIpv6Only,
  withKeepAliveMs,
  withLocalAddress,
  withLogger,
  withMaxSessions,
  withMaxSessionsPerIp,
  withNoDelay,
  withPickStrategy,
  withReconnect,
  withServerAddress,
  withSourceAddress,
  withStaticRead,
  withTls,
  withTlsReloadMs,
  withUpgrade,
} from './endpoint/options.ts';
export {
  PROXY_INFO,
  type ProxyHeaderOptions,
  type ProxyInfo,
  type ProxyProtocolOptions,
  withProxyHeader,
  withProxyProtocol,
} from './endpoint/proxy-options.ts';
export { Server, type ServerEvents } from './endpoint/server.ts';
export { TcpClient, TcpServer } from './endpoint/tcp.ts';
export { UdpClient, UdpEndpoint } from './endpoint/udp.ts';
export {
  withAdmit,
  withBroadcast,
  withMaxPeers,
  withMulticastGroups,
  withMulticastInterface,
  withMulticastLoopback,
  withMulticastTtl,
  withNewPeerRate,
  withReceiveQueue,
  withReuseAddress,
  withSocketBuffers,
  withTtl,
} from './endpoint/udp-options.ts';
export { WsClient, WsServer, WssClient, WssServer } from './endpoint/ws.ts';
export {
  withHeaders,
  withHttpServer,
  withMaxFragments,
  withMaxHeaderBytes,
  withMaxRedirects,
  withMessageTimeoutMs,
  withMessageType,
  withOrigins,
  withPath,
  withPermessageDeflate,
  withPing,
  withProxyAgent,
  withSubprotocols,
  withTextPolicy,
  withVerify,
} from './endpoint/ws-options.ts';
export type { CloseCallback } from './session/close-callbacks.ts';
export { CLOSE_STATUS, type CloseCode, type CloseReason } from './session/close-reason.ts';
export { EventListener, type EventListenerLike } from './session/event-listener.ts';
export {
  type Heartbeat,
  type SessionOptions,
  withConcurrentMessages,
  withCronPeriodMs,
  withDrainTimeoutMs,
  withEventListener,
  withHalfOpen,
  withHeartbeat,
  withIdleTimeoutMs,
  withListenerErrorPolicy,
  withMaxPackageBytes,
  withOpenTimeoutMs,
  withPkgHandler,
  withReader,
  withReaderIdleMs,
  withReadTimeoutMs,
  withSendQueue,
  withSessionName,
  withTaskPool,
  withWaterMarks,
  withWriter,
  withWriterIdleMs,
  withWriteTimeoutMs,
} from './session/options.ts';
export type { WriteOptions, WriteResult } from './session/outbound.ts';
export type { CloseOptions, Session } from './session/session.ts';
export { type BroadcastResult, END_POINT_TYPES, type EndPointType, type NewSession, type SessionEndPoint } from './session/session-host.ts';
export type { SessionState } from './session/session-state.ts';
export type { SessionStats } from './session/session-stats.ts';
export { type PoolOverflow, type RunOptions, type Task, TaskPool, type TaskPoolOptions } from './session/task-pool.ts';
export { type Compression, compressionUpgrade } from './transport/compression.ts';
export type { Address, Connection, ConnectionSink, OverflowPolicy, SendLimits, SendReceipt, TlsInfo } from './transport/connection.ts';
export { type Pem, type TlsFiles, type TlsOptions, type TlsSource, tlsFiles } from './transport/tls-options.ts';
export type { Acceptor, AcceptorSink, AdmissionRole, Transport, Upgrade } from './transport/transport.ts';
export type { AdmitPeer, MulticastGroup, PeerRate, UdpStats } from './transport/udp-settings.ts';
export type { WsAnswer } from './transport/ws-dial.ts';
export {
  WS_REQUEST,
  type WsDeflate,
  type WsHeaders,
  type WsOriginCheck,
  type WsPing,
  type WsRefusal,
  type WsRequest,
  type WsSubprotocolChoice,
  type WsTextPolicy,
  type WsUpgradeRequest,
  type WsVerdict,
  type WsVerify,
} from './transport/ws-settings.ts';
