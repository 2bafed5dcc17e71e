import { ignoreRejection } from '../base/thenable.ts';
import { RPC_METHOD } from './rpc-host.ts';
import type { RunningCall } from './rpc-incoming.ts';
import { isLonger, MAX_CREDIT, toJson } from './rpc-wire.ts';

type AnyIterator = AsyncIterator<unknown> | Iterator<unknown>;

/** How to iterate over what a handler returned, if it is a stream: an async iterable, or a generator. Lists and maps are values. */
export function iteratorOf(value: unknown): AnyIterator | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  if (Symbol.asyncIterator in value && typeof value[Symbol.asyncIterator] === 'function') {
    return (value as AsyncIterable<unknown>)[Symbol.asyncIterator]();
  }
  const isGenerator = Symbol.iterator in value && 'next' in value && typeof value.next === 'function';
  return isGenerator ? (value as Iterator<unknown>) : undefined;
}

/** Sends what a handler's iterator gives: item by item as far as the caller's credit goes, or all of it as one list. */
export class StreamReply {
  readonly #call: RunningCall;
  readonly #iterator: AnyIterator;
  readonly #isList: boolean;
  #credit: number;
  #sent = 0;
  #list: string[] = [];
  #listLength = 0;
  #isStopped = false;
  #wake: (() => void) | undefined;

  /** `credit` 0: the caller wants a list. */
  constructor(call: RunningCall, iterator: AnyIterator, credit: number) {
    this.#call = call;
    this.#iterator = iterator;
    this.#isList = credit === 0;
    this.#credit = this.#isList ? Number.POSITIVE_INFINITY : credit;
  }

  addCredit(items: unknown): void {
    if (typeof items !== 'number' || !Number.isInteger(items) || items < 1) return;
    this.#credit = Math.min(this.#credit + items, MAX_CREDIT);
    this.#wake?.();
  }

  /** Never rejects. */
  async run(): Promise<void> {
    try {
      while (!this.#isStopped) {
        if (this.#credit === 0) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
          continue;
        }
        const step = await this.#iterator.next();
        if (this.#isStopped) return;
        if (step.done === true) {
          this.#isStopped = true;
          this.#call.answerJson(this.#isList ? `[${this.#list.join(',')}]` : `{"$stream":${this.#sent}}`);
          return;
        }
        this.#take(toJson(await step.value));
      }
    } catch (thrown) {
      this.#call.fail(thrown);
    }
  }

  /** The iterator is told that no more is wanted, unless it has come to its end. */
  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#list = [];
    this.#wake?.();
    try {
      ignoreRejection(this.#iterator.return?.());
    } catch {
      // What a cleanup throws concerns nobody any more.
    }
  }

  #take(json: string): void {
    if (this.#isStopped) return;
    const { limits } = this.#call.host;
    if (!this.#isList) {
      this.#send(json);
      return;
    }
    this.#list.push(json);
    this.#listLength += json.length + 1;
    if (this.#list.length > limits.maxCollectedItems) this.#call.failBySize('items', limits.maxCollectedItems);
    else if (this.#listLength > limits.maxMessageBytes) this.#call.failBySize('response', limits.maxMessageBytes);
  }

  #send(json: string): void {
    const { host, idText } = this.#call;
    const text = `{"jsonrpc":"2.0","method":"${RPC_METHOD.ITEM}","params":[${idText},${json}]}`;
    this.#credit--;
    this.#sent++;
    if (isLonger(text, host.limits.maxMessageBytes)) this.#call.failBySize('response', host.limits.maxMessageBytes);
    else if (!host.trySend(text)) this.#call.end(undefined, true);
  }
}
