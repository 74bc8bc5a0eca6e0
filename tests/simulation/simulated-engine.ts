/** An engine that generates at the pace and with the failures the seed wants, and leaves evidence of every result it reports. */
import { RUN_ERROR_CODES, type TokenUsage } from '../../events/contract/index.js';
import { type Engine, EngineError, type EngineResult, type EngineRun, type EngineState } from '../../services/inference/engine.js';
import type { Actor } from './timeline.js';
import { mustHold } from './violation.js';
import type { World } from './world.js';

const CHUNKS_MAX = 3;
const TOKENS_PER_CHUNK_MAX = 12;
/** A slow chunk takes up to this long, so that some runs miss their deadlines. */
const SLOW_CHUNK_MS_MAX = 9_000;
const CHUNK_MS_MAX = 60;
/** The bound of the prompt is the API's; now and then the tokenizer disagrees, and the hold must still be the most that is charged. */
const PROMPT_EXCEEDS_BOUND = 0.03;

type Generation = { completionTokens: number; text: string; isOver: boolean };

export class SimulatedEngine implements Engine {
  readonly systemFingerprint = 'fp_simulated';
  readonly #world: World;
  readonly #actor: Actor;
  #active = 0;

  constructor(world: World, actor: Actor) {
    this.#world = world;
    this.#actor = actor;
  }

  run(run: EngineRun): Promise<EngineResult> {
    const { oracle, network } = this.#world;
    this.#world.check(() => mustHold(oracle.runs.has(run.runId), '6 runs', () => `run ${run.runId} is generated without a hold`));
    const { random } = network;
    this.#active += 1;
    const promptTokens = this.#promptTokens(run);
    const usage = { promptTokens, cachedTokens: random.below(promptTokens + 1), completionTokens: 0 };
    return this.#generate(run, usage).finally(() => {
      this.#active -= 1;
    });
  }

  state(): EngineState {
    return { status: 'ready' };
  }

  load() {
    return { active: this.#active, queued: 0 };
  }

  async close(): Promise<void> {}

  #promptTokens(run: EngineRun): number {
    const { random } = this.#world.network;
    const bound = run.messages[0]?.content.length ?? 1;
    return random.chance(PROMPT_EXCEEDS_BOUND) ? bound + random.below(200) : 1 + random.below(bound);
  }

  #generate(run: EngineRun, prompt: TokenUsage): Promise<EngineResult> {
    const { random, faults } = this.#world.network;
    const failsAt = random.chance(faults.engineFails) ? random.below(CHUNKS_MAX + 1) : -1;
    const tokensWanted = 1 + random.below(Math.min(run.outputTokensBudget + 4, CHUNKS_MAX * TOKENS_PER_CHUNK_MAX));
    const generation: Generation = { completionTokens: 0, text: '', isOver: false };
    return new Promise((resolve, reject) => {
      const finish = (outcome: EngineResult['outcome'], finishReason: EngineResult['finishReason']) => {
        generation.isOver = true;
        const usage = { ...prompt, completionTokens: generation.completionTokens };
        this.#world.witness(run.runId, { outcome, usage, text: generation.text });
        resolve({ outcome, finishReason, usage });
      };
      const chunk = (index: number) => {
        if (generation.isOver) return;
        if (index === failsAt) {
          generation.isOver = true;
          reject(new EngineError(random.pick(RUN_ERROR_CODES.slice(0, 6)), 'simulated failure', random.chance(0.7)));
          return;
        }
        const tokens = Math.min(
          1 + random.below(TOKENS_PER_CHUNK_MAX),
          tokensWanted - generation.completionTokens,
          run.outputTokensBudget - generation.completionTokens,
        );
        generation.completionTokens += tokens;
        const text = `${generation.completionTokens - tokens}-${generation.completionTokens} `;
        generation.text += text;
        run.onText(text);
        if (generation.completionTokens >= run.outputTokensBudget) finish('completed', 'length');
        else if (generation.completionTokens >= tokensWanted) finish('completed', 'stop');
        else this.#next(() => chunk(index + 1));
      };
      const stop = () => {
        if (generation.isOver) return;
        generation.isOver = true;
        this.#world.timeline.after(this.#actor, 'engine stops', random.below(50), () => finish('cancelled', null));
      };
      if (run.signal.aborted) stop();
      else {
        run.signal.addEventListener('abort', stop, { once: true });
        this.#next(() => chunk(0));
      }
    });
  }

  #next(work: () => void): void {
    const { random, faults } = this.#world.network;
    const paceMs = random.chance(faults.engineSlow) ? SLOW_CHUNK_MS_MAX : CHUNK_MS_MAX;
    this.#world.timeline.after(this.#actor, 'engine', random.below(paceMs), work);
  }
}
