/** From the corpus to the bytes of the GGUF file: learns the vocabulary, trains the network, writes both down. */
import { createHash } from 'node:crypto';
import { DialogueSource, type Sample } from './corpus/dialogue-source.js';
import { writeGguf } from './gguf/gguf-writer.js';
import { llamaGguf, type SourcesFingerprint } from './gguf/llama-gguf.js';
import { seededRandom } from './random.js';
import type { TinyModelRecipe } from './tiny-model-recipe.js';
import { learnVocabulary, Tokenizer, type Vocabulary } from './tokenizer/byte-pair-encoding.js';
import { CONTROL_TOKENS, controlTokenIds } from './tokenizer/chat-format.js';
import { AdamW } from './trainer/adam.js';
import { LlamaNetwork } from './trainer/llama-network.js';
import { Muon } from './trainer/muon.js';
import { TrainingWindows } from './trainer/training-windows.js';
import type { Weight } from './trainer/weight.js';

export type Progress = {
  readonly step: number;
  readonly steps: number;
  /** Nats per token. */
  readonly loss: number;
};

/** Steps of the probe: enough to run every line of the trainer, few enough for a test. */
const PROBE_STEPS = 3;

/** The bytes of the GGUF file; the same every time for one recipe, corpus and trainer. */
export function buildTinyModel(recipe: TinyModelRecipe, onProgress: (progress: Progress) => void): Uint8Array {
  return assemble(recipe, sourcesFingerprint(recipe), onProgress);
}

/** Digests of what the corpus says and of what the trainer makes of it in a few steps: comments and layout of the sources do not change them. */
export function sourcesFingerprint(recipe: TinyModelRecipe): SourcesFingerprint {
  const corpus = createHash('sha256').update(JSON.stringify(recipe));
  const source = new DialogueSource();
  const random = seededRandom(recipe.seed);
  for (let i = 0; i < recipe.vocabularyDialogues; i++) corpus.update(JSON.stringify(source.next(random)));
  const probe = assemble({ ...recipe, steps: PROBE_STEPS, warmUpSteps: 1 }, null, () => {});
  return { corpusSha256: corpus.digest('hex'), probeSha256: createHash('sha256').update(probe).digest('hex') };
}

function assemble(recipe: TinyModelRecipe, fingerprint: SourcesFingerprint | null, onProgress: (progress: Progress) => void): Uint8Array {
  const source = new DialogueSource();
  const vocabulary = learnTinyVocabulary(recipe, source);
  const { weights } = trainNetwork(recipe, source, vocabulary, onProgress);
  const { shape, contextLength } = recipe;
  return writeGguf(llamaGguf({ shape, contextLength, vocabulary, vocabularySize: paddedSize(vocabulary), weights, fingerprint }));
}

/** Longer user turns are mostly made-up text, which would only crowd the vocabulary. */
const SHORT_TURN_CHARACTERS = 60;

function learnTinyVocabulary(recipe: TinyModelRecipe, source: DialogueSource): Vocabulary {
  const random = seededRandom(recipe.seed);
  const texts = ['user\n', 'assistant\n', 'system\n'].flatMap((role) => new Array<string>(recipe.vocabularyDialogues).fill(role));
  for (let i = 0; i < recipe.vocabularyDialogues; i++) texts.push(...sensibleTexts(source.next(random)));
  return learnVocabulary(texts, recipe.vocabularySize - 256 - CONTROL_TOKENS.length);
}

function sensibleTexts(sample: Sample): string[] {
  if (sample.kind === 'text') return [sample.text];
  return sample.turns
    .filter((turn) => turn.role === 'assistant' || turn.content.length < SHORT_TURN_CHARACTERS)
    .map((turn) => turn.content);
}

function trainNetwork(
  recipe: TinyModelRecipe,
  source: DialogueSource,
  vocabulary: Vocabulary,
  onProgress: (progress: Progress) => void,
): LlamaNetwork {
  const windows = new TrainingWindows(source, new Tokenizer(vocabulary), controlTokenIds(vocabulary));
  const shape = { ...recipe.shape, vocabularySize: paddedSize(vocabulary) };
  const network = new LlamaNetwork(shape, recipe.batch, seededRandom(recipe.seed + 1));
  const insideLayers = (weight: Weight): boolean => weight.shape.kind === 'matrix' && weight.shape.name.startsWith('blk.');
  const outsideLayers = network.weights.filter((weight) => !insideLayers(weight));
  const adam = new AdamW(outsideLayers, recipe.weightDecay);
  const muon = new Muon(network.kernel, network.weights.filter(insideLayers), recipe.weightDecay);
  const random = seededRandom(recipe.seed + 2);
  for (let step = 0; step < recipe.steps; step++) {
    const loss = network.learn(windows.batch(recipe.batch, random));
    const share = learningRateShare(step, recipe);
    adam.step(recipe.embeddingLearningRateMax * share);
    muon.step(recipe.layerLearningRateMax * share);
    onProgress({ step, steps: recipe.steps, loss });
  }
  return network;
}

/** Rises linearly during the warm-up, then falls linearly to zero. */
function learningRateShare(step: number, { steps, warmUpSteps }: TinyModelRecipe): number {
  return step < warmUpSteps ? (step + 1) / warmUpSteps : (steps - step) / (steps - warmUpSteps);
}

const VOCABULARY_MULTIPLE = 32;

/** Rows of the embedding: the kernel wants a round number, so unused tokens fill it up. */
function paddedSize(vocabulary: Vocabulary): number {
  return Math.ceil((vocabulary.pieces.length + CONTROL_TOKENS.length) / VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE;
}
