import { parseJson } from '../protocol/json-text.ts';

/** Whether what a stranger sent is JSON that programs may pass on and copy: no deep nesting, no member called `__proto__`. */
export function isPlainJson(bytes: Uint8Array): boolean {
  try {
    parseJson(bytes);
    return true;
  } catch {
    return false;
  }
}
