import type { ByteReader } from '../base/byte-reader.ts';
import { appendEncoded, type ByteWriter } from '../base/byte-writer.ts';
import { StateError } from '../base/errors.ts';
import { checkMethods, show } from '../base/option.ts';
import { type PeerAddress, type PeerTarget, readPeer, writePeer } from '../base/peer-header.ts';
import { type PkgContext, PkgHandler, type PkgReader, type PkgWriter } from './pkg-handler.ts';

/** A package and the peer that it came from. */
export interface Datagram<T> {
  readonly pkg: T;
  readonly peer: PeerAddress;
}

/** A package and the peer that it goes to. A `Datagram` that was received is one: sent back, it goes to its sender. */
export interface DatagramTo<T> {
  readonly pkg: T;
  readonly peer: PeerTarget;
}

/** The `state` of bytes of which nothing was read yet. */
const NEW_MESSAGE = 0;

/**
 * Packages together with the peer that they come from or go to, for a session that serves all peers of a UDP socket
 * (`UdpEndpoint.oneSession`, which puts this handler around yours by itself). Needed by hand only to change the handler of such a
 * session: `session.configure(withPkgHandler(new DatagramHandler(other, other)))`.
 *
 * ```
 *   INPUT (one message)                    DECODED
 *   | peer | package | package |    ->     | pkg, peer |   | pkg, peer |
 * ```
 *
 * The peer costs up to 71 bytes of `maxPackageBytes`. Errors: those of the handler inside; NO_PEER when a package is sent without
 * an IP address and a port.
 */
export class DatagramHandler<In, Out = In> extends PkgHandler<Datagram<In>, DatagramTo<Out>> {
  readonly #reader: PkgReader<In>;
  readonly #writer: PkgWriter<Out>;
  /** The peer of the message that a session is being given. */
  readonly #peers = new WeakMap<PkgContext, PeerAddress>();

  constructor(reader: PkgReader<In>, writer: PkgWriter<Out>) {
    super();
    this.#reader = checkMethods('DatagramHandler', reader, ['read']);
    this.#writer = checkMethods('DatagramHandler', writer, ['write']);
  }

  read(bytes: ByteReader, session: PkgContext): Datagram<In> | undefined {
    if (bytes.state === NEW_MESSAGE) {
      const peer = readPeer(bytes);
      if (peer === undefined) throw new StateError('WRONG_STATE', 'DatagramHandler: expected a session for all peers of a UDP socket');
      this.#peers.set(session, peer);
    }
    return this.#readInside(bytes, session, false);
  }

  /** Makes a last package of the rest of a message, if the handler inside does. */
  readEnd(bytes: ByteReader, session: PkgContext): Datagram<In> | undefined {
    return this.#readInside(bytes, session, true);
  }

  #readInside(bytes: ByteReader, session: PkgContext, isEnd: boolean): Datagram<In> | undefined {
    const peer = this.#peers.get(session);
    // The handler inside has `state` to itself: made odd around it, it is never that of a new message.
    bytes.state = bytes.state === NEW_MESSAGE ? 0 : (bytes.state - 1) / 2;
    try {
      const pkg = isEnd ? this.#reader.readEnd?.(bytes, session) : this.#reader.read(bytes, session);
      return pkg === undefined || peer === undefined ? undefined : { pkg, peer };
    } finally {
      bytes.state = bytes.state * 2 + 1;
    }
  }

  write(datagram: DatagramTo<Out>, session: PkgContext, out: ByteWriter): void {
    const { pkg, peer } = datagram;
    if (pkg === undefined || pkg === null) {
      throw new StateError('NO_PACKAGE', `send: expected { pkg, peer } with a package, given ${show(pkg)}`);
    }
    appendEncoded(out, this.#writer.write(pkg, session, out));
    writePeer(out, peer);
  }
}
