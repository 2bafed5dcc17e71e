/** Checked by the compiler alone (`npm run check:types`): what a program does not have to write, and what it cannot. */
import {
  attributeKey,
  type ByteReader,
  type ByteWriter,
  Client,
  type CloseReason,
  EventListener,
  type EventListenerLike,
  FixedLengthHandler,
  LengthFieldHandler,
  LineHandler,
  PkgHandler,
  type PorticoError,
  Server,
  type Session,
  TcpClient,
  TcpServer,
  type Transport,
  UdpEndpoint,
  WsServer,
  withBacklog,
  withCompression,
  withConnectionNumber,
  withEventListener,
  withHandshakeTimeoutMs,
  withHeartbeat,
  withLocalAddress,
  withMaxPackageBytes,
  withMaxSessions,
  withNoDelay,
  withPkgHandler,
  withProxyHeader,
  withProxyProtocol,
  withReader,
  withReconnect,
  withServerAddress,
  withSessionName,
  withSourceAddress,
  withWriter,
} from 'portico';
import { expectTypeOf } from 'vitest';

interface Question {
  readonly text: string;
}
interface Answer {
  readonly size: number;
}

/** Different packages in the two directions. */
class Calls extends PkgHandler<Question, Answer> {
  read(bytes: ByteReader): Question | undefined {
    return bytes.length === 0 ? undefined : { text: bytes.readString(bytes.length) };
  }
  write({ size }: Answer): Uint8Array {
    return Buffer.of(size);
  }
}

class Answers extends EventListener<Question, Answer> {
  override onOpen(session: Session<Question, Answer>): void {
    expectTypeOf(session.send).parameter(0).toEqualTypeOf<Answer>();
  }
  onMessage(session: Session<Question, Answer>, pkg: Question): void {
    session.send({ size: pkg.text.length });
  }
}

class Echo extends EventListener<string> {
  onMessage(session: Session<string>, text: string): void {
    session.send(text);
  }
}

// --- In and Out are found out by the compiler ---

const echo = new TcpServer(withLocalAddress('127.0.0.1:0'), withPkgHandler(new LineHandler()), withEventListener(new Echo()));
expectTypeOf(echo).toEqualTypeOf<TcpServer<string, string>>();
expectTypeOf(echo.broadcast).parameter(0).toEqualTypeOf<string>();
expectTypeOf(echo.sessions).toEqualTypeOf<ReadonlyMap<number, Session<string, string>>>();

const calls = new TcpServer(withPkgHandler(new Calls()), withEventListener(new Answers()));
expectTypeOf(calls).toEqualTypeOf<TcpServer<Question, Answer>>();
expectTypeOf(calls.broadcast).parameter(0).toEqualTypeOf<Answer>();
expectTypeOf(calls.listen).parameter(0).toEqualTypeOf<((session: Session<Question, Answer>) => void | Promise<void>) | undefined>();

const listenerFirst = new TcpServer(withEventListener(new Answers()), withMaxPackageBytes(10), withPkgHandler(new Calls()));
expectTypeOf(listenerFirst).toEqualTypeOf<TcpServer<Question, Answer>>();

const client = new TcpClient(
  withServerAddress('127.0.0.1:1'),
  withPkgHandler(new LengthFieldHandler()),
  withEventListener({ onMessage() {} }),
);
expectTypeOf(client).toEqualTypeOf<TcpClient<Buffer, Uint8Array>>();
expectTypeOf(client.connect).returns.toEqualTypeOf<Promise<Session<Buffer, Uint8Array>>>();
expectTypeOf(client.send).parameter(0).toEqualTypeOf<Uint8Array>();

const halves = new TcpServer(
  withReader({ read: (bytes) => (bytes.length < 1 ? undefined : bytes.uint8At(0)) }),
  withWriter({ write: (pkg: string) => Buffer.from(pkg) }),
  withEventListener<number, string>({ onMessage: (session, pkg) => void session.send(pkg.toFixed()) }),
);
expectTypeOf(halves).toEqualTypeOf<TcpServer<number, string>>();

// --- also in the listeners that are plain objects, behind their PkgHandler ---

new TcpServer(
  withPkgHandler(new Calls()),
  withSessionName('plain'),
  withEventListener({
    onOpen(session) {
      expectTypeOf(session).toEqualTypeOf<Session<Question, Answer>>();
    },
    onMessage(session, pkg) {
      expectTypeOf(pkg).toEqualTypeOf<Question>();
      expectTypeOf(session.send).parameter(0).toEqualTypeOf<Answer>();
    },
    onError(_session, error) {
      expectTypeOf(error).toEqualTypeOf<PorticoError>();
    },
    async onClose(_session, reason) {
      expectTypeOf(reason).toEqualTypeOf<CloseReason>();
    },
  }),
);

new TcpServer(
  withPkgHandler(new LineHandler()),
  withEventListener({
    onMessage: async (session, pkg) => {
      expectTypeOf(pkg).toEqualTypeOf<string>();
      for await (const next of session) expectTypeOf(next).toEqualTypeOf<string>();
      expectTypeOf(await session.closed).toEqualTypeOf<CloseReason>();
    },
  }),
  withHeartbeat({
    intervalMs: 1,
    timeoutMs: 2,
    ping: (session) => {
      expectTypeOf(session.send).parameter(0).toEqualTypeOf<string>();
      return 'ping';
    },
  }),
);

// --- a heartbeat made beforehand goes wherever what it sends goes ---

declare const transport: Transport;
const silentBeat = withHeartbeat({ intervalMs: 1, timeoutMs: 2 });
const emptyBeat = withHeartbeat({ intervalMs: 1, timeoutMs: 2, ping: () => undefined });
const textBeat = withHeartbeat({ intervalMs: 1, timeoutMs: 2, ping: () => 'ping' });
const ownBeat = withHeartbeat({
  intervalMs: 1,
  timeoutMs: 2,
  ping: (session: Session<Question, Answer>): Answer => ({ size: session.id }),
});
Server.over<string, string>(transport, silentBeat, emptyBeat, textBeat);
Client.over<string, string>(transport, textBeat, emptyBeat, silentBeat);
Server.over<Question, Answer>(transport, silentBeat, emptyBeat, ownBeat);
Client.over<Buffer, Uint8Array>(transport, emptyBeat, silentBeat);
expectTypeOf(new TcpServer(silentBeat, withPkgHandler(new LineHandler()), textBeat)).toEqualTypeOf<TcpServer<string>>();
expectTypeOf(new TcpServer(withPkgHandler(new Calls()), ownBeat, silentBeat)).toEqualTypeOf<TcpServer<Question, Answer>>();
declare const lineSession: Session<string>;
lineSession.configure(silentBeat, emptyBeat, textBeat);
// @ts-expect-error answers are sent, not texts
Server.over<Question, Answer>(transport, textBeat);
// @ts-expect-error its ping looks at a session of other packages
Server.over<string, string>(transport, ownBeat);

// --- a mismatch does not compile ---

// @ts-expect-error the handler makes strings, the listener takes questions
new TcpServer(withPkgHandler(new LineHandler()), withEventListener(new Answers()));
// @ts-expect-error the same in the other order
new TcpServer(withEventListener(new Answers()), withPkgHandler(new LineHandler()));
// @ts-expect-error the listener takes strings, the handler makes buffers
new TcpClient(withServerAddress('127.0.0.1:1'), withPkgHandler(new FixedLengthHandler({ frameBytes: 1 })), withEventListener(new Echo()));
// @ts-expect-error what the handler reads fits, what it writes does not
new TcpServer(withPkgHandler(new LengthFieldHandler()), withEventListener<Buffer, string>({ onMessage: () => {} }));
// @ts-expect-error a listener needs onMessage
new TcpServer(withPkgHandler(new LineHandler()), withEventListener({ onOpen: () => {} }));

new TcpServer(
  withPkgHandler(new Calls()),
  withEventListener({
    onMessage(session, pkg) {
      // @ts-expect-error a question has no number
      void pkg.number;
      // @ts-expect-error answers are sent, not questions
      session.send(pkg);
      // @ts-expect-error the same for the other ways of sending
      void session.writePkg('text');
    },
  }),
);
// @ts-expect-error answers are broadcast, not texts
calls.broadcast('text');
// @ts-expect-error packages are not optional
echo.broadcast(undefined);
// @ts-expect-error a package may not be a promise by accident
echo.broadcast(Promise.resolve('text'));

class AsyncRead extends PkgHandler<string> {
  // @ts-expect-error read is synchronous
  async read(bytes: ByteReader): Promise<string | undefined> {
    return bytes.readString(1);
  }
  // @ts-expect-error write is synchronous
  async write(text: string): Promise<Uint8Array> {
    return Buffer.from(text);
  }
}
void AsyncRead;

// --- options go where they have a meaning ---

const lines = [withPkgHandler(new LineHandler()), withEventListener(new Echo()), withMaxPackageBytes(1), withNoDelay(true)] as const;
new TcpServer(...lines, withLocalAddress(':0'), withMaxSessions(1), withBacklog(1), withHandshakeTimeoutMs(1));
new TcpClient(...lines, withServerAddress('127.0.0.1:1'), withConnectionNumber(1), withReconnect(false), withSourceAddress('127.0.0.1'));

// @ts-expect-error a server has no server to go to
new TcpServer(...lines, withServerAddress('127.0.0.1:1'));
// @ts-expect-error a server does not keep connections
new TcpServer(...lines, withConnectionNumber(2));
// @ts-expect-error a server does not reconnect
new TcpServer(...lines, withReconnect(false));
// @ts-expect-error a server has no source address
new TcpServer(...lines, withSourceAddress('127.0.0.1'));
// @ts-expect-error a client does not listen
new TcpClient(...lines, withServerAddress('127.0.0.1:1'), withLocalAddress(':0'));
// @ts-expect-error a client has no backlog
new TcpClient(...lines, withServerAddress('127.0.0.1:1'), withBacklog(1));
// @ts-expect-error a client admits nobody
new TcpClient(...lines, withServerAddress('127.0.0.1:1'), withMaxSessions(1));
// @ts-expect-error a client is not told for whom a server speaks
new TcpClient(...lines, withServerAddress('127.0.0.1:1'), withProxyProtocol({ mode: 'require', trustedSources: ['::1'] }));
// @ts-expect-error a server sends no header
new TcpServer(...lines, withProxyHeader({ version: 1 }));
// @ts-expect-error a client has its connect time-out
new TcpClient(...lines, withServerAddress('127.0.0.1:1'), withHandshakeTimeoutMs(1));

declare const session: Session<string>;
session.configure(withMaxPackageBytes(1), withPkgHandler(new LineHandler()), withEventListener(new Echo()));
// @ts-expect-error an endpoint's options are not a session's
session.configure(withBacklog(1));
// @ts-expect-error a session keeps its types
session.configure(withPkgHandler(new Calls()));

// --- what sessions give back ---

expectTypeOf(session.writePkg('x')).toEqualTypeOf<Promise<{ readonly total: number; readonly sent: number }>>();
expectTypeOf(session.close()).toEqualTypeOf<Promise<CloseReason>>();
expectTypeOf(session.state).toEqualTypeOf<'opening' | 'open' | 'closing' | 'closed'>();
expectTypeOf(session.addCloseCallback({}, 1, async () => {})).toEqualTypeOf<boolean>();
// @ts-expect-error how a session ended is one of the codes
void session.close({ code: 'BORED' });

const user = attributeKey<{ readonly name: string }>('user');
expectTypeOf(session.attributes.get(user)).toEqualTypeOf<{ readonly name: string } | undefined>();
expectTypeOf(session.attributes.get('user')).toEqualTypeOf<unknown>();
session.attributes.set(user, { name: 'x' }).set('user', 1).set(session, 2).set(1, 'y');
// @ts-expect-error a name is text
session.attributes.set(user, { name: 1 });
// @ts-expect-error a user is no text
session.attributes.set(user, 'x');
// @ts-expect-error nor is it missing: that is what delete is for
session.attributes.set(user, undefined);

// --- contracts that programs write out ---

class Both implements EventListenerLike<string> {
  onMessage(): void {}
  async onCron(): Promise<void> {}
}
expectTypeOf(new Both()).toExtend<EventListenerLike<string>>();

class Appends extends PkgHandler<string> {
  read(): string | undefined {
    return undefined;
  }
  write(text: string, _session: unknown, out: ByteWriter): void {
    out.writeString(text);
  }
}
expectTypeOf(new TcpServer(withPkgHandler(new Appends()), withEventListener(new Echo()))).toEqualTypeOf<TcpServer<string>>();

// --- options for streams ---

new TcpServer(withCompression('zip'));
new TcpClient(withCompression({ type: 'zip', level: 3 }));
// @ts-expect-error datagrams are no stream
new UdpEndpoint(withCompression('zip'));
// @ts-expect-error a WebSocket has a compression of its own
new WsServer(withCompression('zip'));
// @ts-expect-error not one of getty's
withCompression('gzip');
