/** TEMPORARY */
import type { MessageBus } from '../../events/bus/message-bus.js';
import {
  DEFAULT_POOL,
  NO_USAGE,
  RUN_RESULTS_TOPIC,
  type RunRequested,
  runControlTopic,
  runRequestsTopic,
} from '../../events/contract/index.js';
import { EngineError } from '../../services/inference/engine.js';
import { SimulatedEngine } from './simulated-engine.js';
import type { Actor } from './timeline.js';
import type { World } from './world.js';

export function startWorker(world: World, actor: Actor, bus: MessageBus): { unfinished: () => number } {
  const engine = new SimulatedEngine(world, actor);
  const running = new Map<string, AbortController>();
  const say = (topic: string, key: string, type: string, value: object) =>
    bus.publish(topic, [{ key, type, headers: {}, value: value as never }]).catch(() => {});
  const run = async (request: RunRequested) => {
    if (running.has(request.runId)) return;
    const abort = new AbortController();
    running.set(request.runId, abort);
    let outputs = 0;
    const { runId, attempt, accountId, replyTopic } = request;
    try {
      const result = await engine.run({
        runId,
        messages: request.input.messages,
        sampling: request.sampling,
        stop: [],
        outputTokensBudget: request.outputTokensBudget,
        signal: abort.signal,
        onText: (text) => {
          void say(replyTopic, runId, 'RunOutput', { runId, attempt, index: outputs++, text });
        },
      });
      await say(RUN_RESULTS_TOPIC, accountId, 'RunFinished', {
        runId,
        accountId,
        attempt,
        ...result,
        errorCode: null,
        systemFingerprint: 'x',
        outputs,
        replyTopic,
      });
    } catch (error) {
      const known = error instanceof EngineError ? error : new EngineError('engine_failed', 'x', false);
      await say(replyTopic, runId, 'RunAttemptFailed', { runId, attempt, errorCode: known.code, message: '', retryable: known.retryable });
    } finally {
      running.delete(runId);
    }
  };
  void NO_USAGE;
  void bus.subscribe({
    topic: runRequestsTopic(DEFAULT_POOL),
    group: 'workers',
    onMessages: (messages) => {
      for (const m of messages) void run(m.value as never);
    },
  });
  void bus.subscribe({
    topic: runControlTopic(DEFAULT_POOL),
    group: actor.name,
    onMessages: (messages) => {
      for (const m of messages) running.get(m.value['runId'] as string)?.abort();
    },
  });
  return { unfinished: () => engine.load().active };
}
