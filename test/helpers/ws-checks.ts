import { expect } from 'vitest';
import type { CloseReason } from '../../src/session/close-reason.ts';
import { pattern } from './raw-peer.ts';
import type { Scene } from './scene.ts';
import { binary, type Message, text, type WsClientOption, wsClient } from './ws-echo.ts';

/** Text and binary, empty and large. */
export function messagesOf(seed: number): Message[] {
  const texts = ['', 'grüße ✓ 𝄞', '€'.repeat(30_000)].map(text);
  return [...texts, ...[0, 1, 125, 126, 65_535, 65_536, 1_048_576].map((size) => binary(pattern(size, seed * 1000 + size)))];
}

/** Our client sends messages of all kinds to a foreign echo server, gets the same back, and closes in order. */
export async function echoesThrough(scene: Scene, url: string, seed: number, ...options: readonly WsClientOption[]): Promise<void> {
  const { session, watch } = await wsClient(scene, url, ...options);
  const messages = messagesOf(seed);
  for (const message of messages) if (!session.send(message)) await session.drained();
  await watch.messagesIn(messages.length);
  expect(summary(watch.messages), `seed ${seed}`).toEqual(summary(messages));
  const isSame = messages.every(({ bytes }, index) => Buffer.compare(bytes, watch.messages[index]?.bytes ?? Buffer.of(0)) === 0);
  expect(isSame, `seed ${seed}`).toBe(true);
  expect(await session.close({ reason: 'done' })).toMatchObject({ code: 'NORMAL', status: 1000, unsentBytes: 0 });
}

function summary(messages: readonly Message[]): string[] {
  return messages.map(({ bytes, isText }) => `${isText ? 'text' : 'binary'} ${bytes.length}`);
}

/** What a foreign server answers to a command. */
export async function answerTo(scene: Scene, url: string, command: string, ...options: readonly WsClientOption[]): Promise<string> {
  const { session, watch } = await wsClient(scene, url, ...options);
  session.send(text(command));
  const [answer] = await watch.messagesIn(1);
  await session.close();
  return Buffer.from(answer?.bytes ?? []).toString();
}

/** How a session of ours ends that has told a foreign server to close it. */
export async function closedBy(scene: Scene, url: string, command: string): Promise<CloseReason | undefined> {
  const { session, watch } = await wsClient(scene, url);
  session.send(text(command));
  return watch.closed();
}
