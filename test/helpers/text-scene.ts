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
import type { CloseReason } from '../../src/session/close-reason.ts';
import { EventListener } from '../../src/session/event-listener.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import type { Address } from '../../src/transport/connection.ts';
import { until } from './raw-peer.ts';
import type { Scene } from './scene.ts';
import { Tool } from './tools.ts';

/** Lines of text, as people type them into the tools: the server sends each back, and closes on "quit". */
export class Lines extends EventListener<string> {
  readonly lines: string[] = [];
  readonly reasons: CloseReason[] = [];
  readonly #isEcho: boolean;

  constructor(isEcho: boolean) {
    super();
    this.#isEcho = isEcho;
  }

  onMessage(session: Session<string>, line: string): void {
    this.lines.push(line);
    if (!this.#isEcho) return;
    if (line === 'quit') void session.close();
    else session.send(line);
  }

  override onClose(_session: Session<string>, reason: CloseReason): void {
    this.reasons.push(reason);
  }

  async linesIn(count: number): Promise<string[]> {
    await until(() => this.lines.length >= count || this.reasons.length > 0, `${count} line(s)`);
    return this.lines;
  }

  async closed(): Promise<CloseReason | undefined> {
    await until(() => this.reasons.length > 0, 'the close');
    return this.reasons[0];
  }
}

export interface LineServer {
  readonly server: TcpServer<string>;
  readonly lines: Lines;
  readonly address: Address;
}

export interface LineClient {
  readonly session: Session<string>;
  readonly lines: Lines;
}

export async function lineServer(scene: Scene, ...options: readonly Option<TcpServerOptions<string, string>>[]): Promise<LineServer> {
  const lines = new Lines(true);
  const server = new TcpServer<string>(
    withLocalAddress('127.0.0.1:0'),
    withPkgHandler(new LineHandler()),
    withEventListener<string, string>(lines),
    ...options,
  );
  scene.atEnd(() => server.close({ drainTimeoutMs: 0 }));
  await server.listen();
  return { server, lines, address: server.localAddress };
}

export async function lineClient(
  scene: Scene,
  address: string,
  ...options: readonly Option<TcpClientOptions<string, string>>[]
): Promise<LineClient> {
  const lines = new Lines(false);
  const client = new TcpClient<string>(
    withServerAddress(address),
    withReconnect({ attempts: 1, shouldReconnect: () => false }),
    withPkgHandler(new LineHandler()),
    withEventListener<string, string>(lines),
    ...options,
  );
  scene.atEnd(() => client.close({ drainTimeoutMs: 0 }));
  return { session: await client.connect(), lines };
}

/** Starts a program that is killed, if it is still there, when the test is over. */
export function startTool(scene: Scene, command: string, args: readonly string[], cwd?: string): Tool {
  const tool = new Tool(command, args, cwd);
  scene.atEnd(async () => {
    tool.stop();
    await tool.exited();
  });
  return tool;
}
