/**
 * Virtual time and the order of everything: each piece of asynchronous work is a task with a due time, and the seed picks which of the due tasks
 * runs next. Between two tasks every promise chain has come to rest, so a crash between any two steps is a real one: what has been started
 * can only go on through another task, and the tasks of a dead actor never run.
 */
import type { Clock } from '../../platform/clock.js';
import type { Scheduler } from '../../platform/scheduler.js';
import type { SeededRandom } from './seeded-random.js';
import type { Trace } from './trace.js';

/** Unix milliseconds at which every history begins. */
export const HISTORY_STARTS_MS = 1_790_000_000_000;

type Task = { readonly dueMs: number; readonly order: number; readonly actor: Actor; readonly label: string; readonly work: () => void };

/** One incarnation of a component: it dies at once and is never resumed; a restart is a new one. */
export class Actor {
  readonly name: string;
  /** The actor's clock runs this much ahead of true time (behind, when negative). */
  clockSkewMs = 0;
  isAlive = true;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  /** Unwound when the actor dies, such as the broker noticing that its connection is gone. */
  readonly #onDeath: (() => void)[] = [];
  /** Work deferred within one process runs in order, as on an event loop. */
  readonly deferred: (() => void)[] = [];

  constructor(name: string, timeline: Timeline) {
    this.name = name;
    this.clock = { nowMs: () => timeline.nowMs + this.clockSkewMs };
    this.scheduler = {
      defer: (work) => timeline.defer(this, work),
      delay: (work, delayMs) => timeline.after(this, 'timer', delayMs, work),
    };
  }

  onDeath(unwind: () => void): void {
    this.#onDeath.push(unwind);
  }

  die(): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.deferred.length = 0;
    for (const unwind of this.#onDeath.splice(0)) unwind();
  }
}

export class Timeline {
  nowMs = HISTORY_STARTS_MS;
  steps = 0;
  readonly #random: SeededRandom;
  readonly #trace: Trace;
  readonly #due: Task[] = [];
  readonly #future: Task[] = [];
  #order = 0;

  constructor(random: SeededRandom, trace: Trace) {
    this.#random = random;
    this.#trace = trace;
  }

  /** Runs `work` once true time has advanced by `delayMs`, unless the actor is dead by then. Returns how to call it off. */
  after(actor: Actor, label: string, delayMs: number, work: () => void): () => void {
    if (!actor.isAlive) return () => {};
    let isCalledOff = false;
    this.#order += 1;
    const dueMs = this.nowMs + Math.max(0, delayMs);
    const run = () => {
      if (!isCalledOff) work();
    };
    const task: Task = { dueMs, order: this.#order, actor, label, work: run };
    if (dueMs <= this.nowMs) this.#due.push(task);
    else pushHeap(this.#future, task);
    return () => {
      isCalledOff = true;
    };
  }

  /** Runs `work` soon, after what this actor has deferred before. */
  defer(actor: Actor, work: () => void): void {
    if (!actor.isAlive) return;
    actor.deferred.push(work);
    if (actor.deferred.length === 1) this.#scheduleDeferred(actor);
  }

  /** Runs one task; time moves on when none is due. `false`: nothing is left to run. */
  step(): boolean {
    for (;;) {
      this.#collectDue();
      const task = this.#takeDue();
      if (task === null) return false;
      if (!task.actor.isAlive) continue;
      this.steps += 1;
      this.#trace.step(task.actor.name, task.label, this.nowMs);
      task.work();
      return true;
    }
  }

  #scheduleDeferred(actor: Actor): void {
    this.after(actor, 'deferred', 0, () => {
      const work = actor.deferred.shift();
      if (actor.deferred.length > 0) this.#scheduleDeferred(actor);
      work?.();
    });
  }

  #collectDue(): void {
    const earliest = this.#future[0];
    if (earliest === undefined) return;
    if (this.#due.length === 0 && earliest.dueMs > this.nowMs) this.nowMs = earliest.dueMs;
    for (let next = this.#future[0]; next !== undefined && next.dueMs <= this.nowMs; next = this.#future[0]) {
      popHeap(this.#future);
      this.#due.push(next);
    }
  }

  #takeDue(): Task | null {
    const last = this.#due.length - 1;
    if (last < 0) return null;
    const index = last === 0 ? 0 : this.#random.below(last + 1);
    const task = this.#due[index] as Task;
    this.#due[index] = this.#due[last] as Task;
    this.#due.pop();
    return task;
  }
}

/**
 * Resolves when every promise chain has come to rest. Nothing in a history waits for real input or output, so one turn of the event loop,
 * which empties the microtask queue however long it grows, is exactly that.
 */
export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function isBefore(left: Task, right: Task): boolean {
  return left.dueMs < right.dueMs || (left.dueMs === right.dueMs && left.order < right.order);
}

function pushHeap(heap: Task[], task: Task): void {
  let index = heap.length;
  heap.push(task);
  while (index > 0) {
    const parent = (index - 1) >> 1;
    const above = heap[parent] as Task;
    if (!isBefore(task, above)) break;
    heap[index] = above;
    index = parent;
  }
  heap[index] = task;
}

function popHeap(heap: Task[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let index = 0;
  for (;;) {
    let child = 2 * index + 1;
    if (child >= heap.length) break;
    const right = heap[child + 1];
    if (right !== undefined && isBefore(right, heap[child] as Task)) child += 1;
    const below = heap[child] as Task;
    if (!isBefore(below, last)) break;
    heap[index] = below;
    index = child;
  }
  heap[index] = last;
}
