import { readFileSync } from 'node:fs';

/** What to assume where the limit cannot be found out. */
const FALLBACK_LIMIT = 4096;

/** Sockets are not all of a process's files: the rest stays free for them. */
const SESSION_SHARE = 0.7;

/** The places of sessions and handshakes that several servers share. */
export class SessionRoom {
  used = 0;
  #max: number | undefined;

  /** Default: a share of the open-file limit, asked for when it is first needed. */
  constructor(max?: number) {
    this.#max = max;
  }

  get isFull(): boolean {
    this.#max ??= Math.max(1, Math.floor(openFileLimit() * SESSION_SHARE));
    return this.used >= this.#max;
  }
}

/** That of all servers of the process which have no limit of their own. */
export const PROCESS_ROOM: SessionRoom = new SessionRoom();

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
