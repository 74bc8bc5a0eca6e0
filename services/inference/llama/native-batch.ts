/**
 * Batches straight on node-llama-cpp's addon. This is the one file that touches what the package does not document, so it checks the
 * version and every method it needs, and `public-batch.ts` does the same work through the documented interface where they are not there.
 *
 * Why: node-llama-cpp's own queue lets sequences drop out of step (each is queued again by its own promise chain), so decodes go out half
 * empty. Here a decode holds every sequence that has a token to evaluate. Sampling is queued behind the decode without waiting for it: the
 * child has a single pool thread (`UV_THREADPOOL_SIZE=1`), which takes work in order, and that saves a trip through the event loop a token.
 * Measured against that queue: 0.4 to 1.0 times the CPU time per token at 1, 4 and 8 clients, the less the smaller the model.
 */
import type { LlamaContext } from 'node-llama-cpp';
import type { Sampling } from '../../../events/contract/index.js';
import { type BatchDecoder, type BatchItem, NO_TOKEN, type TokenChances, type TokenSampler } from './batch-decoder.js';

/** The releases whose addon was read for this file: 3.22.x. */
const KNOWN_RELEASE = /^3\.22\./;

/** The part of the addon's context that is used here (dist/bindings/AddonTypes.d.ts). */
type AddonContext = {
  initBatch(tokens: number): void;
  /** Returns the places of the wanted logits in the batch. */
  addToBatch(sequence: number, position: number, tokens: Uint32Array, logitIndexes: Uint32Array): Uint32Array;
  decodeBatch(): Promise<void>;
  sampleToken(logitIndex: number, sampler: AddonSampler): Promise<number>;
  /** `logits`: tokens and their logits in turn, the likeliest first; `weight`: the sum of exp(logit - greatest logit). */
  sampleToken(
    logitIndex: number,
    sampler: AddonSampler,
    probabilities: false,
    confidence: false,
    wanted: readonly [tokens: readonly number[], max: false, min: false, selected: false, top: number],
    weight: true,
  ): Promise<[token: number, probabilities: undefined, confidence: undefined, logits: readonly number[], weight: number]>;
  disposeSequence(sequence: number): void;
  removeTokenCellsFromSequence(sequence: number, from: number, to: number): boolean;
  getSequenceKvCacheMinPosition(sequence: number): number;
};

type AddonSampler = { dispose(): void; applyConfig(config: Record<string, unknown>): void };
/** A grammar at some place in an answer; the one-argument constructor copies it. */
type GrammarState = object;

type Bindings = {
  readonly AddonSampler: new (model: object) => AddonSampler;
  readonly AddonGrammar: new (grammar: string, options: { readonly addonExports: object; readonly rootRuleName: string }) => object;
  readonly AddonGrammarEvaluationState: {
    new (model: object, grammar: object): GrammarState;
    new (state: GrammarState): GrammarState;
  };
};

type Internals = { readonly _ctx: AddonContext };
type ModelInternals = {
  readonly _model: object;
  readonly _llama: { readonly _bindings: Bindings };
};

const CONTEXT_METHODS = [
  'initBatch',
  'addToBatch',
  'decodeBatch',
  'sampleToken',
  'disposeSequence',
  'removeTokenCellsFromSequence',
  'getSequenceKvCacheMinPosition',
] as const satisfies readonly (keyof AddonContext)[];

const NO_LOGITS = new Uint32Array(0);

/** Grammars kept as read, ready to be copied: reading takes 1 to 4 ms, copying a tenth of one. One has 1 to 100 KB. */
const READ_GRAMMARS_MAX = 64;

class NativeSampler implements TokenSampler {
  chances: TokenChances | null = null;
  constructor(
    readonly addon: AddonSampler,
    readonly logprobs: number | undefined,
  ) {}
  dispose(): void {
    this.addon.dispose();
  }
}

/** `null` when this release of node-llama-cpp is not known to fit, or the pool has more than one thread. */
export function nativeBatchDecoder(context: LlamaContext, release: string, slotTokens: number): BatchDecoder | null {
  const addon = (context as unknown as Partial<Internals>)._ctx;
  const model = context.model as unknown as Partial<ModelInternals>;
  const bindings = model._llama?._bindings;
  const Sampler = bindings?.AddonSampler;
  const addonModel = model._model;
  const fits =
    KNOWN_RELEASE.test(release) &&
    process.env['UV_THREADPOOL_SIZE'] === '1' &&
    addon !== undefined &&
    CONTEXT_METHODS.every((method) => typeof addon[method] === 'function') &&
    bindings !== undefined &&
    typeof Sampler === 'function' &&
    typeof bindings.AddonGrammar === 'function' &&
    typeof bindings.AddonGrammarEvaluationState === 'function' &&
    typeof Sampler.prototype?.applyConfig === 'function' &&
    addonModel !== undefined;
  return fits ? new NativeBatchDecoder({ context, addon, bindings, model: addonModel, slotTokens }) : null;
}

type Parts = {
  readonly context: LlamaContext;
  readonly addon: AddonContext;
  readonly bindings: Bindings;
  readonly model: object;
  readonly slotTokens: number;
};

class NativeBatchDecoder implements BatchDecoder {
  readonly slots: number;
  readonly batchTokens: number;
  readonly slotTokens: number;
  readonly #parts: Parts;
  readonly #grammars = new Map<string, GrammarState>();
  /** Looks at logits and changes none; made when first wanted. */
  #observer: AddonSampler | null = null;

  constructor(parts: Parts) {
    this.slots = parts.context.totalSequences;
    this.batchTokens = parts.context.batchSize;
    this.slotTokens = parts.slotTokens;
    this.#parts = parts;
  }

  createSampler(sampling: Sampling, seed: number, grammar: string | null): TokenSampler {
    const config = samplerConfig(sampling, seed, this.slotTokens);
    if (grammar !== null) config['grammarEvaluationState'] = this.#stateOf(grammar);
    const { bindings, model } = this.#parts;
    const addon = new bindings.AddonSampler(model);
    addon.applyConfig(config);
    return new NativeSampler(addon, sampling.logprobs);
  }

  async decode(items: readonly BatchItem[]): Promise<readonly number[]> {
    const { addon } = this.#parts;
    addon.initBatch(items.reduce((tokens, item) => tokens + item.tokens.length, 0));
    const logitIndexes = items.map(({ slot, position, tokens, sampler }) => {
      const wanted = sampler === null ? NO_LOGITS : Uint32Array.of(tokens.length - 1);
      return addon.addToBatch(slot, position, tokens, wanted)[0] ?? NO_TOKEN;
    });
    const decoded = addon.decodeBatch();
    const chosen = items.map(({ sampler }, index) =>
      sampler === null ? NO_TOKEN : addon.sampleToken(logitIndexes[index] ?? NO_TOKEN, (sampler as NativeSampler).addon),
    );
    // Waits for the samplers even when the decode has failed, so that none is at work when it is disposed of.
    const [outcome, ...results] = await Promise.allSettled([decoded, ...chosen]);
    if (outcome.status === 'rejected') throw outcome.reason;
    // A sampler that fails fails its own run.
    const tokens = results.map((result) => (result.status === 'rejected' ? NO_TOKEN : result.value));
    for (const [index, { sampler }] of items.entries()) {
      if (sampler === null || (sampler as NativeSampler).logprobs === undefined) continue;
      await this.#observe(sampler as NativeSampler, logitIndexes[index] ?? NO_TOKEN, tokens[index] ?? NO_TOKEN);
    }
    return tokens;
  }

  /** The model's logits stay where they are until the next decode, so a second look finds them as they were. */
  async #observe(sampler: NativeSampler, logitIndex: number, token: number): Promise<void> {
    const { addon, bindings, model } = this.#parts;
    sampler.chances = null;
    if (token === NO_TOKEN) return;
    if (this.#observer === null) {
      this.#observer = new bindings.AddonSampler(model);
      this.#observer.applyConfig({});
    }
    const wanted = sampler.logprobs ?? 0;
    const kinds = [[token], false, false, false, Math.max(1, wanted)] as const;
    const [, , , logits, weight] = await addon.sampleToken(logitIndex, this.#observer, false, false, kinds, true);
    const pairs = Array.from({ length: logits.length / 2 }, (_, index) => [logits[2 * index] ?? 0, logits[2 * index + 1] ?? 0] as const);
    // ln(exp(logit) / sum of exp(logit)), in the form that cannot overflow.
    const logOfSum = Math.max(...pairs.map(([, logit]) => logit)) + Math.log(weight);
    const own = pairs.find(([other]) => other === token);
    if (own === undefined) return;
    sampler.chances = {
      logprob: Math.min(0, own[1] - logOfSum),
      top: pairs.slice(0, wanted).map(([other, logit]) => [other, Math.min(0, logit - logOfSum)] as const),
    };
  }

  #stateOf(grammar: string): GrammarState {
    const { bindings, model } = this.#parts;
    const State = bindings.AddonGrammarEvaluationState;
    const read =
      this.#grammars.get(grammar) ?? new State(model, new bindings.AddonGrammar(grammar, { addonExports: bindings, rootRuleName: 'root' }));
    this.#grammars.delete(grammar);
    this.#grammars.set(grammar, read);
    if (this.#grammars.size > READ_GRAMMARS_MAX) this.#grammars.delete(this.#grammars.keys().next().value ?? '');
    return new State(read);
  }

  truncate(slot: number, tokens: number): Promise<number> {
    const kept = tokens > 0 && this.#parts.addon.removeTokenCellsFromSequence(slot, tokens, -1);
    // A sliding-window cache has dropped the beginning, and recurrent models keep no past at all: then nothing can be used again.
    if (kept && this.#parts.addon.getSequenceKvCacheMinPosition(slot) === 0) return Promise.resolve(tokens);
    this.#parts.addon.disposeSequence(slot);
    return Promise.resolve(0);
  }
}

/**
 * The addon's names for OpenAI's parameters. What is at its neutral value is left out: each stage of the chain costs a pass over the
 * vocabulary. Penalties count the answer's own tokens, as OpenAI's do; the sampler adds each token that it chooses.
 */
function samplerConfig(sampling: Sampling, seed: number, historyTokensMax: number): Record<string, unknown> {
  const { temperature, topP, topK, minP, frequencyPenalty, presencePenalty, logitBias = [] } = sampling;
  const config: Record<string, unknown> = { temperature, seed };
  if (topK > 0) config['topK'] = topK;
  if (topP < 1) config['topP'] = topP;
  if (minP > 0) config['minP'] = minP;
  if (logitBias.length > 0) {
    config['tokenBiasKeys'] = Uint32Array.from(logitBias, ([token]) => token);
    config['tokenBiasValues'] = Float32Array.from(logitBias, ([, bias]) => bias);
  }
  if (frequencyPenalty !== 0 || presencePenalty !== 0) {
    config['repeatPenaltyTokens'] = new Uint32Array(0);
    config['repeatPenaltyMaxTokens'] = historyTokensMax;
    config['repeatPenalty'] = 1;
    config['repeatPenaltyFrequencyPenalty'] = frequencyPenalty;
    config['repeatPenaltyPresencePenalty'] = presencePenalty;
  }
  return config;
}
