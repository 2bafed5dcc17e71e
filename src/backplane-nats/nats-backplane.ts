import { BusBackplane } from '../backplane/bus-backplane.ts';
import type { BusBackplaneOptions } from '../backplane/bus-options.ts';
import { ReconnectingBus } from '../backplane/reconnecting-bus.ts';
import { checkString, invalid } from '../base/option.ts';
import { natsConnector } from './nats-link.ts';

export interface NatsBackplaneOptions extends BusBackplaneOptions {
  /**
   * Where the servers are, such as `'127.0.0.1:4222'`, or what `connect` of `@nats-io/transport-node` takes. `reconnect`,
   * `waitOnFirstConnect` and `noEcho` are set by the backplane.
   */
  readonly nats: string | Readonly<Record<string, unknown>>;
  /** In front of every subject: services of different prefixes do not hear each other. Default `'portico'`. */
  readonly subjectPrefix?: string;
}

/**
 * A backplane over nats-server, without JetStream. Nothing is kept in the server: nodes announce their members, and ask each other when
 * they join, follow a room, or were cut off.
 */
export class NatsBackplane extends BusBackplane {
  constructor(options: NatsBackplaneOptions) {
    const { nats, subjectPrefix = 'portico', ...rest } = checkOptions(options);
    checkString('NatsBackplane subjectPrefix', subjectPrefix, 128);
    if (!/^[\w-]+(?:\.[\w-]+)*$/.test(subjectPrefix)) {
      throw invalid('NatsBackplane subjectPrefix', 'letters, digits, - and _ with dots between them', subjectPrefix);
    }
    const connection = typeof nats === 'string' ? { servers: nats } : nats;
    const clock = rest.clock === undefined ? {} : { clock: rest.clock };
    super(
      'NatsBackplane',
      new ReconnectingBus({ name: 'NatsBackplane', connect: natsConnector({ connection, subjectPrefix }), ...clock }),
      rest,
    );
  }
}

function checkOptions(options: NatsBackplaneOptions): NatsBackplaneOptions {
  const isObject = typeof options === 'object' && options !== null;
  const nats: unknown = isObject ? options.nats : undefined;
  if (nats === '' || (typeof nats !== 'string' && (typeof nats !== 'object' || nats === null))) {
    throw invalid('NatsBackplane nats', 'the address of a server, or an object of options', nats);
  }
  return options;
}
