import { onTestFinished } from 'vitest';
import type { Option } from '../../src/base/option.ts';
import { LineHandler } from '../../src/codec/line.ts';
import {
  type TcpClientOptions,
  type TcpServerOptions,
  withLocalAddress,
  withReconnect,
  withServerAddress,
} from '../../src/endpoint/options.ts';
import { TcpClient, TcpServer } from '../../src/endpoint/tcp.ts';
import type { EventListenerLike } from '../../src/session/event-listener.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import type { NewSession } from '../../src/session/session-host.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { turn } from './session-recorder.ts';

interface Closable {
  close(options: { drainTimeoutMs: number }): Promise<unknown>;
}

/** What the test that runs now has to end, and the clocks that it may need for that. */
let scene: { readonly closables: Closable[]; readonly clocks: VirtualClock[] } | undefined;

function sceneOfTest(): NonNullable<typeof scene> {
  if (scene !== undefined) return scene;
  const { closables, clocks } = { closables: [], clocks: [] } as NonNullable<typeof scene>;
  onTestFinished(() => {
    scene = undefined;
    return endAll(closables, clocks);
  });
  scene = { closables, clocks };
  return scene;
}

/** Ends what a test has left, and lets virtual time pass for it. */
async function endAll(closables: readonly Closable[], clocks: readonly VirtualClock[]): Promise<void> {
  let isOver = false;
  const over = Promise.all(closables.map((closable) => closable.close({ drainTimeoutMs: 0 }))).finally(() => {
    isOver = true;
  });
  while (!isOver) {
    for (const clock of clocks) await clock.advance(1_000);
    await turn();
  }
  await over;
}

/** Closes an endpoint or a pool after the test. */
export function closeLater<T extends Closable>(closable: T): T {
  sceneOfTest().closables.push(closable);
  return closable;
}

/** A clock that stands still until the test moves it; real sockets work meanwhile. */
export function virtualClock(): VirtualClock {
  const clock = new VirtualClock();
  sceneOfTest().clocks.push(clock);
  return clock;
}

/** What a promise rejects with; fails when it resolves. */
export function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => {
      throw new Error(`expected a rejection, given ${String(value)}`);
    },
    (thrown: unknown) => thrown,
  );
}

type LineListener = EventListenerLike<string>;
type LineServerOption = Option<TcpServerOptions<string, string>>;
type LineClientOption = Option<TcpClientOptions<string, string>>;

/** A TCP server of text lines on a free port, not listening yet. */
export function lineServer(listener: LineListener, ...options: readonly LineServerOption[]): TcpServer<string> {
  return closeLater(
    new TcpServer<string>(withLocalAddress('127.0.0.1:0'), withPkgHandler(new LineHandler()), withEventListener(listener), ...options),
  );
}

/** The same, listening. */
export function listen(
  listener: LineListener,
  options: readonly LineServerOption[] = [],
  newSession?: NewSession<string, string>,
): Promise<TcpServer<string>> {
  return lineServer(listener, ...options).listen(newSession);
}

/** A client of such a server, which has not been told to connect and does not come back unless an option says so. */
export function lineClient(server: TcpServer<string>, listener: LineListener, ...options: readonly LineClientOption[]): TcpClient<string> {
  return closeLater(
    new TcpClient<string>(
      withServerAddress(server.localAddress.text),
      withPkgHandler(new LineHandler()),
      withEventListener(listener),
      withReconnect(false),
      ...options,
    ),
  );
}
