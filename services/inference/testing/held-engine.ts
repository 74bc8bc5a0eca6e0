/** An engine whose runs go on when the test says so; for meeting the worker loop between two steps. */
import { type FinishReason, NO_USAGE, type TokenUsage } from '../../../events/contract/index.js';
import type { Engine, EngineError, EngineResult, EngineRun } from '../engine.js';

export type HeldRun = {
  readonly run: EngineRun;
  finish(usage?: TokenUsage, finishReason?: FinishReason): void;
  fail(error: EngineError | Error): void;
};

export class HeldEngine implements Engine {
  readonly systemFingerprint = 'fp_held';
  /** Every run ever taken, in order. */
  readonly runs: HeldRun[] = [];
  /** Whether an abort ends a run, as it should. */
  obeysAbort = true;
  #active = 0;

  run(run: EngineRun): Promise<EngineResult> {
    this.#active += 1;
    return new Promise<EngineResult>((resolve, reject) => {
      run.signal.addEventListener('abort', () => {
        if (this.obeysAbort)
          resolve({ outcome: 'cancelled', finishReason: null, usage: { ...NO_USAGE, promptTokens: 5, completionTokens: 2 } });
      });
      this.runs.push({
        run,
        finish: (usage = { promptTokens: 5, cachedTokens: 1, completionTokens: 3 }, finishReason = 'stop') =>
          resolve({ outcome: 'completed', finishReason, usage }),
        fail: reject,
      });
    }).finally(() => {
      this.#active -= 1;
    });
  }

  /** The run that was taken last. */
  get latest(): HeldRun {
    const latest = this.runs.at(-1);
    if (latest === undefined) throw new Error('no run was taken');
    return latest;
  }

  state() {
    return { status: 'ready' } as const;
  }

  load() {
    return { active: this.#active, queued: 0 };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
