/** Which engine serves a run, and which is left out for how long. */
import { describe, expect, test } from '@jest/globals';
import { NO_USAGE, type RunErrorCode } from '../../../events/contract/index.js';
import { type Engine, EngineError, type EngineRun, type EngineState } from '../engine.js';
import { HeldEngine } from '../testing/held-engine.js';
import { ManualTime } from '../testing/manual-time.js';
import { failoverEngine } from './failover-engine.js';
import { recordingLogger, runOf, silentLogger } from './testing/upstream-under-test.js';

/** A held engine with a name of its own, in whatever state the test says. */
class NamedEngine implements Engine {
  readonly systemFingerprint: string;
  readonly held = new HeldEngine();
  stateNow: EngineState = { status: 'ready' };
  closed = false;

  constructor(systemFingerprint: string) {
    this.systemFingerprint = systemFingerprint;
  }

  get runs() {
    return this.held.runs;
  }

  get latest() {
    return this.held.latest;
  }

  run(run: EngineRun) {
    return this.held.run(run);
  }

  state() {
    return this.stateNow;
  }

  load() {
    return this.held.load();
  }

  close() {
    this.closed = true;
    return Promise.resolve();
  }
}

const BREAKER = { failuresMax: 2, openMs: 1_000 };
const failed = (code: RunErrorCode = 'engine_failed', retryable = true) => new EngineError(code, `${code} of a test`, retryable);
/** Lets promise callbacks run that have nothing left to wait for. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

function twoEngines() {
  const time = new ManualTime();
  const first = new NamedEngine('fp_first');
  const second = new NamedEngine('fp_second');
  const engines = [
    { name: 'first', engine: first },
    { name: 'second', engine: second },
  ];
  const engine = failoverEngine({ engines, breaker: BREAKER, clock: time, logger: silentLogger });
  /** A run that fails at the first engine and is served by the second. */
  const failOver = async (error = failed()) => {
    const run = engine.run(runOf());
    first.latest.fail(error);
    await settled();
    second.latest.finish();
    return await run;
  };
  return { time, first, second, engine, failOver };
}

describe('order', () => {
  test('the first engine serves while it can, and the result says so', async () => {
    const { engine, first, second } = twoEngines();
    const run = engine.run(runOf());
    expect(engine.load()).toEqual({ active: 1, queued: 0 });
    first.latest.finish();
    expect(await run).toMatchObject({ outcome: 'completed', systemFingerprint: 'fp_first' });
    expect(second.runs).toEqual([]);
  });

  test.each<[RunErrorCode, boolean]>([
    ['engine_failed', true],
    ['engine_at_capacity', true],
    ['model_loading', true],
    ['model_unavailable', false],
    ['context_length_exceeded', false],
    ['engine_crashed', true],
  ])('%s before any text leads to the next engine', async (code, retryable) => {
    expect(await twoEngines().failOver(failed(code, retryable))).toMatchObject({ outcome: 'completed', systemFingerprint: 'fp_second' });
  });

  test('a failure after text was handed out is the failure of the run', async () => {
    const { engine, first, second } = twoEngines();
    const pieces: string[] = [];
    const run = engine.run(runOf({ onText: (text) => pieces.push(text) }));
    first.latest.run.onText('Two');
    first.latest.fail(failed());
    await expect(run).rejects.toMatchObject({ code: 'engine_failed' });
    expect(second.runs).toEqual([]);
    expect(pieces).toEqual(['Two']);
  });

  test('a run cancelled while one engine fails is not taken to the next', async () => {
    const { engine, first, second } = twoEngines();
    first.held.obeysAbort = false;
    const abort = new AbortController();
    const run = engine.run(runOf({ signal: abort.signal }));
    abort.abort();
    first.latest.fail(failed());
    expect(await run).toEqual({ outcome: 'cancelled', finishReason: null, usage: NO_USAGE });
    expect(second.runs).toEqual([]);
  });

  test.each<[EngineError, EngineError, RunErrorCode]>([
    [failed('model_unavailable', false), failed('engine_failed'), 'engine_failed'],
    [failed('engine_failed'), failed('engine_at_capacity'), 'engine_at_capacity'],
    [failed('model_unavailable', false), failed('context_length_exceeded', false), 'context_length_exceeded'],
    [failed('engine_failed', false), failed('model_unavailable', false), 'engine_failed'],
  ])('of %s and %s the run fails with %s', async (ofFirst, ofSecond, code) => {
    const { engine, first, second } = twoEngines();
    const run = engine.run(runOf());
    run.catch(() => {});
    first.latest.fail(ofFirst);
    await settled();
    second.latest.fail(ofSecond);
    await expect(run).rejects.toMatchObject({ code });
  });

  test('a bug in an engine is not hidden by the next one', async () => {
    const { engine, first, second } = twoEngines();
    const run = engine.run(runOf());
    first.latest.fail(new RangeError('bug'));
    await expect(run).rejects.toThrow(RangeError);
    expect(second.runs).toEqual([]);
  });

  test('closing closes all engines', async () => {
    const { engine, first, second } = twoEngines();
    await engine.close();
    expect([first.closed, second.closed]).toEqual([true, true]);
  });

  test('who was passed over, and why, is logged', async () => {
    const { logger, lines } = recordingLogger();
    const only = new NamedEngine('fp_first');
    const engine = failoverEngine({ engines: [{ name: 'only', engine: only }], clock: new ManualTime(), logger });
    const run = engine.run(runOf());
    only.latest.fail(failed());
    await expect(run).rejects.toThrow(EngineError);
    expect(lines).toMatchObject([{ engine: 'only', code: 'engine_failed' }]);
  });
});

describe('the circuit breaker', () => {
  test('an engine that failed as often as allowed is left out, and tried again by one run later', async () => {
    const { engine, first, second, time, failOver } = twoEngines();
    await failOver();
    await failOver();
    expect(first.runs).toHaveLength(2);
    expect(engine.systemFingerprint).toBe('fp_second');
    const leftOut = engine.run(runOf());
    second.latest.finish();
    expect((await leftOut).systemFingerprint).toBe('fp_second');
    expect(first.runs).toHaveLength(2);

    time.advance(999);
    const stillLeftOut = engine.run(runOf());
    second.latest.finish();
    await stillLeftOut;
    expect(first.runs).toHaveLength(2);

    time.advance(1);
    const probe = engine.run(runOf());
    const beside = engine.run(runOf());
    expect(first.runs).toHaveLength(3);
    second.latest.finish();
    first.latest.finish();
    expect((await probe).systemFingerprint).toBe('fp_first');
    expect((await beside).systemFingerprint).toBe('fp_second');

    const closed = [engine.run(runOf()), engine.run(runOf())];
    expect(first.runs).toHaveLength(5);
    for (const { finish } of first.runs.slice(3)) finish();
    await Promise.all(closed);
  });

  test('a probe that fails leaves the engine out for another while', async () => {
    const { engine, first, second, time, failOver } = twoEngines();
    await failOver();
    await failOver();
    time.advance(1_000);
    await failOver();
    const leftOut = engine.run(runOf());
    expect(first.runs).toHaveLength(3);
    second.latest.finish();
    await leftOut;
  });

  test('a probe that is cancelled before it said anything lets the next run probe', async () => {
    const { engine, first, time, failOver } = twoEngines();
    await failOver();
    await failOver();
    time.advance(1_000);
    const abort = new AbortController();
    const probe = engine.run(runOf({ signal: abort.signal }));
    abort.abort();
    await probe;
    const next = engine.run(runOf());
    expect(first.runs).toHaveLength(4);
    first.latest.finish();
    await next;
  });

  test('success in between starts the count anew', async () => {
    const { engine, first, failOver } = twoEngines();
    for (let round = 0; round < 3; round += 1) {
      await failOver();
      const good = engine.run(runOf());
      first.latest.finish();
      expect((await good).systemFingerprint).toBe('fp_first');
    }
  });

  test.each<[RunErrorCode, boolean]>([
    ['engine_at_capacity', true],
    ['model_loading', true],
    ['context_length_exceeded', false],
    ['engine_failed', false],
  ])('%s (retryable: %s) says nothing of the health of an engine', async (code, retryable) => {
    const { first, failOver } = twoEngines();
    for (let run = 1; run <= 5; run += 1) {
      await failOver(failed(code, retryable));
      expect(first.runs).toHaveLength(run);
    }
  });

  test('runs that entered before it opened do not keep it open by failing late', async () => {
    const { engine, first, second, time } = twoEngines();
    const runs = Array.from({ length: 4 }, () => engine.run(runOf()));
    const early = first.runs.slice();
    early[0]?.fail(failed());
    early[1]?.fail(failed());
    await settled();
    time.advance(900);
    early[2]?.fail(failed());
    early[3]?.fail(failed());
    await settled();
    for (const { finish } of second.runs) finish();
    await Promise.all(runs);
    time.advance(100);
    const probe = engine.run(runOf());
    expect(first.runs).toHaveLength(5);
    first.latest.finish();
    await probe;
  });

  test('while every engine is left out, runs are refused at once as retryable, until a probe may go', async () => {
    const { engine, first, second, time } = twoEngines();
    for (let round = 0; round < 2; round += 1) {
      const run = engine.run(runOf());
      run.catch(() => {});
      first.latest.fail(failed());
      await settled();
      second.latest.fail(failed());
      await expect(run).rejects.toThrow(EngineError);
    }
    expect(engine.state()).toEqual({ status: 'failed', reason: 'first: failed 2 times in a row; second: failed 2 times in a row' });
    await expect(engine.run(runOf())).rejects.toMatchObject({ code: 'model_unavailable', retryable: true });
    time.advance(1_000);
    expect(engine.state()).toEqual({ status: 'ready' });
    const probe = engine.run(runOf());
    first.latest.finish();
    expect((await probe).systemFingerprint).toBe('fp_first');
  });
});

describe('state', () => {
  test.each<[EngineState, EngineState, EngineState]>([
    [{ status: 'loading', progress: 0.2 }, { status: 'ready' }, { status: 'ready' }],
    [
      { status: 'loading', progress: 0.2 },
      { status: 'loading', progress: 0.7 },
      { status: 'loading', progress: 0.7 },
    ],
    [
      { status: 'failed', reason: 'spoilt' },
      { status: 'loading', progress: 0.1 },
      { status: 'loading', progress: 0.1 },
    ],
    [
      { status: 'failed', reason: 'spoilt' },
      { status: 'failed', reason: 'gone' },
      { status: 'failed', reason: 'first: spoilt; second: gone' },
    ],
  ])('of %j and %j it is %j', (ofFirst, ofSecond, together) => {
    const { engine, first, second } = twoEngines();
    first.stateNow = ofFirst;
    second.stateNow = ofSecond;
    expect(engine.state()).toEqual(together);
  });

  test('loading is over when one engine is ready, or when none will be', async () => {
    const { engine, first, second } = twoEngines();
    let onLoaded = (_state: EngineState) => {};
    const loading = () =>
      new Promise<EngineState>((resolve) => {
        onLoaded = resolve;
      });
    first.stateNow = { status: 'loading', progress: 0 };
    Object.assign(first, { whenLoaded: loading });
    expect(await engine.whenLoaded()).toEqual({ status: 'ready' });

    second.stateNow = { status: 'failed', reason: 'gone' };
    const loaded = engine.whenLoaded();
    first.stateNow = { status: 'failed', reason: 'spoilt' };
    onLoaded(first.stateNow);
    expect(await loaded).toEqual({ status: 'failed', reason: 'first: spoilt; second: gone' });
  });
});
