import { Attributes } from '../../src/base/attributes.ts';
import { appendEncoded, ByteWriter } from '../../src/base/byte-writer.ts';
import type { ListenerError, PeerError } from '../../src/base/errors.ts';
import { PackageReader, type PackageSink } from '../../src/codec/package-reader.ts';
import type { PkgContext, PkgReader, PkgWriter } from '../../src/codec/pkg-handler.ts';

export const NO_SESSION: PkgContext = { id: 0, attributes: new Attributes() };

/** Writes down what a PackageReader reports, in order. Bytes are written down as Latin-1 text, at once. */
export class Recorder<In = unknown> implements PackageSink<In> {
  readonly packages: In[] = [];
  readonly errors: (PeerError | ListenerError)[] = [];
  /** `pkg …`, `error CODE`, `fatal CODE`. */
  readonly events: string[] = [];
  /** What the sink answers; replaced by tests that stop, feed or throw. */
  onEach: (pkg: In) => boolean = () => true;

  onPackage(pkg: In): boolean {
    this.packages.push(pkg);
    this.events.push(`pkg ${pkg instanceof Uint8Array ? Buffer.from(pkg).toString('latin1') : String(pkg)}`);
    return this.onEach(pkg);
  }

  onPackageError(error: PeerError | ListenerError): void {
    this.errors.push(error);
    const recoverable = error.name === 'PeerError' && error.recoverable;
    this.events.push(`${recoverable ? 'error' : 'fatal'} ${error.code}`);
  }
}

export interface Decoded {
  readonly events: readonly string[];
  /** What `end` says: bytes that make no package. */
  readonly left: number;
}

/** Decodes a stream that arrives in these chunks and then ends. Each chunk is overwritten after it was fed, as a socket would. */
export function decode(handler: PkgReader<unknown>, chunks: readonly Uint8Array[], maxPackageBytes = 0): Decoded {
  const recorder = new Recorder();
  const reader = new PackageReader(handler, recorder, maxPackageBytes);
  for (const chunk of chunks) {
    const lent = Buffer.from(chunk);
    reader.feed(lent);
    lent.fill(0xdd);
  }
  const left = reader.end();
  return { events: recorder.events, left };
}

/** The errors that decoding this stream reports. */
export function errorsOf(handler: PkgReader<unknown>, chunks: readonly Buffer[]): readonly (PeerError | ListenerError)[] {
  const recorder = new Recorder();
  const reader = new PackageReader(handler, recorder, 0);
  for (const chunk of chunks) reader.feed(chunk);
  return recorder.errors;
}

/** One byte per chunk. */
export function bytewise(stream: Uint8Array): Uint8Array[] {
  return Array.from(stream, (byte) => Uint8Array.of(byte));
}

/** Cuts a stream into chunks of these sizes, over and over. */
export function cut(stream: Buffer, sizes: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  let at = 0;
  for (let turn = 0; at < stream.length; turn++) {
    const size = sizes[turn % sizes.length] ?? stream.length;
    chunks.push(stream.subarray(at, at + size));
    at += size;
  }
  return chunks;
}

/** What `write` makes of these packages, as one run of bytes. */
export function encode<Out>(handler: PkgWriter<Out>, ...packages: readonly Out[]): Buffer {
  const out = new ByteWriter();
  for (const pkg of packages) {
    out.beginPackage();
    appendEncoded(out, handler.write(pkg, NO_SESSION, out));
  }
  return Buffer.concat(out.take());
}

export function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(' ', ''), 'hex');
}
