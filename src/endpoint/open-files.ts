import { readFileSync } from 'node:fs';

/** What to assume where the limit cannot be found out. */
const FALLBACK_LIMIT = 4096;

/** How many files and sockets this process may have open. Node has already raised the soft limit to the hard one. */
export function openFileLimit(): number {
  try {
    const line = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'latin1'));
    const soft = Number(line?.[1]);
    if (line?.[1] === 'unlimited') return 1_048_576;
    if (Number.isInteger(soft) && soft > 0) return soft;
  } catch {
    // Not Linux.
  }
  const report: unknown = process.report?.getReport();
  const limits: unknown = report instanceof Object ? Reflect.get(report, 'userLimits') : undefined;
  const files: unknown = limits instanceof Object ? Reflect.get(limits, 'open_files') : undefined;
  const soft: unknown = files instanceof Object ? Reflect.get(files, 'soft') : undefined;
  return typeof soft === 'number' && soft > 0 ? soft : FALLBACK_LIMIT;
}
