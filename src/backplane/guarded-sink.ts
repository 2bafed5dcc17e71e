import { describeThrown, type PorticoError } from '../base/errors.ts';
import { debugLogger } from '../base/log.ts';
import { isThenable } from '../base/thenable.ts';
import type { BackplaneGap, BackplaneSink } from './backplane.ts';

/** A sink that cannot fail, and that is silent after its end. */
export class GuardedSink implements BackplaneSink {
  #sink: BackplaneSink | undefined;

  constructor(sink: BackplaneSink) {
    this.#sink = sink;
  }

  /** Nothing is told from here on. */
  end(): void {
    this.#sink = undefined;
  }

  onMessage(channel: string, bytes: Uint8Array, fromNode: string): void {
    try {
      watch(this.#sink?.onMessage(channel, bytes, fromNode));
    } catch (thrown) {
      report(thrown);
    }
  }

  onMember(room: string, memberId: string, state: Uint8Array | undefined, fromNode: string): void {
    try {
      watch(this.#sink?.onMember(room, memberId, state, fromNode));
    } catch (thrown) {
      report(thrown);
    }
  }

  onNodeDown(nodeId: string): void {
    try {
      watch(this.#sink?.onNodeDown(nodeId));
    } catch (thrown) {
      report(thrown);
    }
  }

  onGap(gap: BackplaneGap): void {
    try {
      watch(this.#sink?.onGap(gap));
    } catch (thrown) {
      report(thrown);
    }
  }

  onError(error: PorticoError): void {
    try {
      watch(this.#sink?.onError(error));
    } catch (thrown) {
      report(thrown);
    }
  }
}

function watch(result: unknown): void {
  if (isThenable(result)) result.then(undefined, report);
}

function report(thrown: unknown): void {
  debugLogger.error(`the sink of a backplane failed: ${describeThrown(thrown)}`);
}
