import type { ReplySink } from './rpc-host.ts';
import { errorText, limitExceeded, utf8Bytes } from './rpc-wire.ts';

/** The answers to a batch, sent as one when the last is there; none when there is none. */
export class BatchReply {
  readonly #maxBytes: number;
  readonly #send: (text: string) => void;
  readonly #onCut: () => void;
  readonly #elements: Element[] = [];
  #missing = 0;
  #isSealed = false;

  /** `onCut`: a result did not fit. */
  constructor(maxBytes: number, send: (text: string) => void, onCut: () => void) {
    this.#maxBytes = maxBytes;
    this.#send = send;
    this.#onCut = onCut;
  }

  /** The place of one answer. */
  element(): ReplySink {
    const element = new Element(() => {
      this.#missing--;
      this.#sendIfDone();
    });
    this.#elements.push(element);
    this.#missing++;
    return element;
  }

  /** There are no more elements. */
  seal(): void {
    this.#isSealed = true;
    this.#sendIfDone();
  }

  #sendIfDone(): void {
    if (!this.#isSealed || this.#missing > 0 || this.#elements.length === 0) return;
    const texts = this.#fit();
    this.#send(texts === undefined ? errorText(limitExceeded('response', this.#maxBytes), 'null') : `[${texts.join(',')}]`);
  }

  /** Results that leave no room for the others give way to errors; undefined when not even those fit. */
  #fit(): string[] | undefined {
    const texts = this.#elements.map(({ text }) => text);
    const length = texts.reduce((sum, text) => sum + text.length + 1, 1);
    if (length * 3 <= this.#maxBytes) return texts;
    const refusals = this.#elements.map(({ idText }) => errorText(limitExceeded('response', this.#maxBytes), idText));
    let left = this.#maxBytes - 1;
    for (const [index, refusal] of refusals.entries()) left -= Math.min(utf8Bytes(refusal), utf8Bytes(texts[index] ?? '')) + 1;
    if (left < 0) return undefined;
    return texts.map((text, index) => {
      const refusal = refusals[index] ?? text;
      const more = Math.max(0, utf8Bytes(text) - utf8Bytes(refusal));
      if (more <= left) {
        left -= more;
        return text;
      }
      this.#onCut();
      return refusal;
    });
  }
}

class Element implements ReplySink {
  text = '';
  idText = 'null';
  readonly #onPut: () => void;

  constructor(onPut: () => void) {
    this.#onPut = onPut;
  }

  put(text: string, _isError: boolean, idText: string): void {
    this.text = text;
    this.idText = idText;
    this.#onPut();
  }
}
