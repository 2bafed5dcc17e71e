import { type Clock, systemClock } from './clock.ts';
import { describeThrown } from './errors.ts';
import { debugLogger } from './log.ts';
import { MAX_DELAY_MS } from './option.ts';

/** A timer's owner; an object instead of a closure, because a session arms its timer many times. */
export interface TimerOwner {
  onTimer(): void;
}

const TICK_MS = 10;
const LEVELS = 5;
const SLOT_BITS = 6;
const SLOTS = 1 << SLOT_BITS;
const SLOT_MASK = SLOTS - 1;
/** Ticks are compared modulo this: a small integer however long the process runs, and four times the longest delay. */
const TICK_MASK = (1 << (SLOT_BITS * LEVELS)) - 1;
/** Timers run for so long at most before waiting I/O has its turn. */
const SLICE_MS = 5;
/** Waking up later than this means that the event loop was blocked. */
const STALL_MS = 100;

/** One timer, made once and armed as often as needed: arming and cancelling relink it and allocate nothing. */
export class WheelTimer {
  readonly owner: TimerOwner;
  /** This and the fields below belong to the wheel. */
  wheel: Wheel | undefined = undefined;
  previous: WheelTimer = this;
  next: WheelTimer = this;
  tick = 0;

  constructor(owner: TimerOwner) {
    this.owner = owner;
  }

  get isArmed(): boolean {
    return this.wheel !== undefined;
  }

  cancel(): void {
    this.wheel?.disarm(this);
  }
}

const NOBODY: TimerOwner = { onTimer() {} };

/** The head of a ring of timers. Its `tick` is the slot that it is the head of; -1: of none. */
function ring(slot: number): WheelTimer {
  const head = new WheelTimer(NOBODY);
  head.tick = slot;
  return head;
}

/**
 * All timers of a clock on one timer of the clock: a hierarchical timing wheel. A timer fires at the first tick (10 ms) that
 * is not before its time, never early.
 *
 * A slot of level 0 is one tick, a slot of each higher level all 64 slots of the level below. A timer stands in the lowest
 * level on which its tick and the present lie in one turn of the wheel; when the present reaches its slot, it moves down.
 *
 * ```
 * arm --> slot --(clock timer: the next slot that is not empty)--> due list -- tick reached --> onTimer
 *          ^                                                          |
 *          '----------------- still ahead: a lower level -------------'
 * ```
 */
export class Wheel {
  readonly clock: Clock;
  readonly #origin: number;
  readonly #slots: readonly WheelTimer[] = Array.from({ length: LEVELS * SLOTS }, (_, slot) => ring(slot));
  /** One bit for each slot that is not empty: two words a level. */
  readonly #occupied = new Int32Array(LEVELS * 2);
  /** Timers taken from the slot that the present has reached. */
  readonly #due: WheelTimer = ring(-1);
  /** The present: every slot that begins at this tick or before has been emptied. */
  #elapsed = 0;
  #count = 0;
  /** From the clock timer on until all that is due has run; there is no clock timer then. */
  #isRunning = false;
  #wakeTick = Number.POSITIVE_INFINITY;
  #cancelWake: (() => void) | undefined;
  readonly #onWake = (): void => this.#wake();
  readonly #onYield = (): void => this.#run();

  constructor(clock: Clock) {
    this.clock = clock;
    this.#origin = clock.now();
  }

  now(): number {
    return this.clock.now();
  }

  /** Makes `timer` fire once, `delayMs` from now; a timer that is armed already is moved. Delays are cut to 0 .. 2^31 - 1 ms. */
  arm(timer: WheelTimer, delayMs: number): void {
    const now = this.clock.now() - this.#origin;
    if (timer.wheel === this) {
      this.#unlink(timer);
    } else {
      timer.cancel();
      timer.wheel = this;
      if (this.#count === 0 && !this.#isRunning) this.#elapsed = Math.max(this.#elapsed, Math.floor(now / TICK_MS));
      this.#count++;
    }
    const delay = delayMs > 0 ? Math.min(delayMs, MAX_DELAY_MS) : 0;
    const start = this.#link(timer, Math.max(Math.ceil((now + delay) / TICK_MS), this.#elapsed + 1));
    if (!this.#isRunning && start < this.#wakeTick) this.#wakeAt(start);
  }

  /** As `timer.cancel()`. */
  disarm(timer: WheelTimer): void {
    if (timer.wheel !== this) return;
    this.#unlink(timer);
    timer.wheel = undefined;
    timer.previous = timer;
    timer.next = timer;
    this.#count--;
    if (this.#count === 0) this.#stopWaking();
  }

  /** Puts the timer into its slot and returns the tick at which the slot begins. */
  #link(timer: WheelTimer, tick: number): number {
    timer.tick = tick & TICK_MASK;
    const difference = timer.tick ^ (this.#elapsed & TICK_MASK);
    const level = difference < SLOTS ? 0 : Math.floor((31 - Math.clz32(difference)) / SLOT_BITS);
    const shift = level * SLOT_BITS;
    const index = level * SLOTS + ((timer.tick >> shift) & SLOT_MASK);
    append(this.#slots[index] as WheelTimer, timer);
    this.#occupied[index >> 5] = (this.#occupied[index >> 5] as number) | (1 << (index & 31));
    return tick - (tick & ((1 << shift) - 1));
  }

  #unlink(timer: WheelTimer): void {
    const { previous, next } = timer;
    previous.next = next;
    next.previous = previous;
    // Alone in its ring: what is left is the head.
    if (previous === next) this.#markEmpty(next.tick);
  }

  #markEmpty(index: number): void {
    if (index < 0) return;
    this.#occupied[index >> 5] = (this.#occupied[index >> 5] as number) & ~(1 << (index & 31));
  }

  /** The slot that begins next; -1 when all are empty. Slots of a lower level always begin before those of a higher one. */
  #nextSlot(): number {
    for (let level = 0; level < LEVELS; level++) {
      const low = this.#occupied[level * 2] as number;
      const high = this.#occupied[level * 2 + 1] as number;
      if ((low | high) !== 0) return level * SLOTS + nextBit(low, high, ((this.#elapsed >> (level * SLOT_BITS)) + 1) & SLOT_MASK);
    }
    return -1;
  }

  #startOf(index: number): number {
    const shift = (index >> SLOT_BITS) * SLOT_BITS;
    const ahead = (index - (this.#elapsed >> shift)) & SLOT_MASK;
    return this.#elapsed - (this.#elapsed & ((1 << shift) - 1)) + ahead * (1 << shift);
  }

  #stopWaking(): void {
    this.#cancelWake?.();
    this.#cancelWake = undefined;
    this.#wakeTick = Number.POSITIVE_INFINITY;
  }

  #wakeAt(tick: number): void {
    this.#cancelWake?.();
    this.#wakeTick = tick;
    const delay = Math.ceil(this.#origin + tick * TICK_MS - this.clock.now());
    this.#cancelWake = this.clock.after(Math.min(Math.max(delay, 0), MAX_DELAY_MS), this.#onWake);
  }

  #wake(): void {
    const planned = this.#origin + this.#wakeTick * TICK_MS;
    this.#cancelWake = undefined;
    this.#wakeTick = Number.POSITIVE_INFINITY;
    this.#isRunning = true;
    // What arrived while the loop was blocked is handled first, so that a peer is not found silent because we were deaf.
    if (this.clock.now() - planned > STALL_MS) this.clock.yield(this.#onYield);
    else this.#run();
  }

  #run(): void {
    const start = this.clock.now();
    const present = Math.floor((start - this.#origin) / TICK_MS);
    const due = this.#due;
    let isFirst = true;
    for (;;) {
      for (let timer = due.next; timer !== due; timer = due.next) {
        if (!isFirst && this.clock.now() - start >= SLICE_MS) {
          this.clock.yield(this.#onYield);
          return;
        }
        isFirst = false;
        this.#fireOrMoveDown(timer);
      }
      const slot = this.#nextSlot();
      if (slot === -1 || this.#startOf(slot) > present) break;
      this.#elapsed = this.#startOf(slot);
      moveAll(this.#slots[slot] as WheelTimer, due);
      this.#markEmpty(slot);
    }
    this.#elapsed = Math.max(this.#elapsed, present);
    this.#isRunning = false;
    const next = this.#nextSlot();
    if (next !== -1) this.#wakeAt(this.#startOf(next));
  }

  #fireOrMoveDown(timer: WheelTimer): void {
    const ahead = (timer.tick - this.#elapsed) & TICK_MASK;
    if (ahead > 0) {
      this.#unlink(timer);
      this.#link(timer, this.#elapsed + ahead);
      return;
    }
    this.disarm(timer);
    try {
      timer.owner.onTimer();
    } catch (thrown) {
      debugLogger.error(`a timer failed: ${describeThrown(thrown)}`);
    }
  }
}

function append(head: WheelTimer, timer: WheelTimer): void {
  const last = head.previous;
  last.next = timer;
  timer.previous = last;
  timer.next = head;
  head.previous = timer;
}

/** Appends all timers of the ring `from`, which is not empty, to the ring `to`, which is. */
function moveAll(from: WheelTimer, to: WheelTimer): void {
  const first = from.next;
  const last = from.previous;
  to.next = first;
  first.previous = to;
  to.previous = last;
  last.next = to;
  from.next = from;
  from.previous = from;
}

/** The first bit that is set in 64, looking from bit `from` upwards and then from bit 0. At least one is. */
function nextBit(low: number, high: number, from: number): number {
  const lowAhead = from < 32 ? low & (-1 << from) : 0;
  if (lowAhead !== 0) return lowestBit(lowAhead);
  const highAhead = from < 32 ? high : high & (-1 << (from - 32));
  if (highAhead !== 0) return 32 + lowestBit(highAhead);
  return low !== 0 ? lowestBit(low) : 32 + lowestBit(high);
}

function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}

const wheels = new WeakMap<Clock, Wheel>();

/** The wheel that all timers of this clock share. */
export function wheelOf(clock: Clock = systemClock): Wheel {
  let wheel = wheels.get(clock);
  if (wheel === undefined) {
    wheel = new Wheel(clock);
    wheels.set(clock, wheel);
  }
  return wheel;
}

/** Calls `callback` once, `delayMs` from now, and returns the cancellation: for code that is not hot enough to keep a WheelTimer. */
export function after(wheel: Wheel, delayMs: number, callback: () => void): () => void {
  const timer = new WheelTimer({ onTimer: callback });
  wheel.arm(timer, delayMs);
  return () => timer.cancel();
}

/** Waits for a promise, but not longer than `timeoutMs` (0 = for ever): then it rejects, and what comes later is ignored. */
export async function settledInTime(promise: void | PromiseLike<void>, timeoutMs: number, wheel: Wheel): Promise<void> {
  if (promise === undefined || timeoutMs === 0) return promise;
  let cancel = (): void => {};
  const late = new Promise<never>((_resolve, reject) => {
    cancel = after(wheel, timeoutMs, () => reject(new Error(`did not settle within ${timeoutMs} ms`)));
  });
  try {
    await Promise.race([promise, late]);
  } finally {
    cancel();
  }
}
