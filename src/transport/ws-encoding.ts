import { ByteWriter } from '../base/byte-writer.ts';
import { StateError } from '../base/errors.ts';

/** Where packages are encoded, one below the other when a PkgHandler sends from inside `write`. */
const writers: ByteWriter[] = [];
let depth = 0;

/** Where to encode a package of a WebSocket. */
export function beginApart(): ByteWriter {
  const writer = writers[depth] ?? new ByteWriter();
  writers[depth++] = writer;
  writer.beginPackage();
  return writer;
}

/** The writer of the package begun last. */
export function endApart(): ByteWriter {
  const writer = depth === 0 ? undefined : writers[--depth];
  if (writer === undefined) throw new StateError('WRONG_STATE', 'endPackage: expected a beginPackage before it');
  return writer;
}

/** The same, and undefined when there is none. */
export function cancelApart(): ByteWriter | undefined {
  return depth === 0 ? undefined : endApart();
}
