/** The whole recipe of the tiny model: what is read, learned and written. One recipe gives one file, byte for byte. */
import { DialogueSource, type Sample } from './corpus/dialogue-source.js';
import { type GgufFile, type GgufTensor, type GgufValue, writeGguf } from './gguf/gguf-writer.js';
import { quantizeQ8_0 } from './gguf/q8-0.js';
import { seededRandom } from './random.js';
import { learnVocabulary, Tokenizer, type Vocabulary } from './tokenizer/byte-pair-encoding.js';
import { CHAT_TEMPLATE, CONTROL_TOKENS, controlTokenIds } from './tokenizer/chat-format.js';
import { AdamW } from './trainer/adam.js';
import { Muon } from './trainer/muon.js';
import { LlamaNetwork } from './trainer/llama-network.js';
import type { NetworkShape } from './trainer/network-shape.js';
import type { BatchExtents } from './trainer/training-batch.js';
import { TrainingWindows } from './trainer/training-windows.js';
import type { Weight } from './trainer/weight.js';

export type TinyModelRecipe = {
  readonly seed: number;
  /** Conversations the vocabulary is learned from. */
  readonly vocabularyDialogues: number;
  /** Byte tokens, merges and control tokens together. */
  readonly vocabularySize: number;
  readonly shape: Omit<NetworkShape, 'vocabularySize'>;
  readonly batch: BatchExtents;
  readonly steps: number;
  readonly warmUpSteps: number;
  readonly embeddingLearningRateMax: number;
  readonly layerLearningRateMax: number;
  readonly weightDecay: number;
  /** Tokens that fit into one sequence, as told to llama.cpp. */
  readonly contextLength: number;
};

export const TINY_MODEL_RECIPE: TinyModelRecipe = {
  seed: 2026,
  vocabularyDialogues: 10_000,
  vocabularySize: 3072,
  shape: { width: 128, layers: 2, heads: 4, feedForwardWidth: 384, normEpsilon: 1e-5, rotaryBase: 10_000 },
  batch: { windows: 4, windowLength: 256 },
  steps: 1000,
  warmUpSteps: 40,
  embeddingLearningRateMax: 0.02,
  layerLearningRateMax: 0.02,
  weightDecay: 0.05,
  contextLength: 8192,
};

export type Progress = { readonly step: number; readonly steps: number; /** Nats per token. */ readonly loss: number };

/** The bytes of the GGUF file. */
export function buildTinyModel(recipe: TinyModelRecipe, onProgress: (progress: Progress) => void): Uint8Array {
  const source = new DialogueSource();
  const vocabulary = learnTinyVocabulary(recipe, source);
  const network = trainNetwork(recipe, source, vocabulary, onProgress);
  return writeGguf(ggufFile(recipe, vocabulary, network.weights));
}

/** Longer user turns are mostly made-up text. */
const SHORT_TURN_CHARACTERS = 60;

function learnTinyVocabulary(recipe: TinyModelRecipe, source: DialogueSource): Vocabulary {
  const random = seededRandom(recipe.seed);
  const texts = ['user\n', 'assistant\n', 'system\n'].flatMap((role) => new Array<string>(recipe.vocabularyDialogues).fill(role));
  for (let i = 0; i < recipe.vocabularyDialogues; i++) texts.push(...spokenTexts(source.next(random)));
  return learnVocabulary(texts, recipe.vocabularySize - 256 - CONTROL_TOKENS.length);
}

/** Texts that the vocabulary should fit: made-up words of users would only crowd it. */
function spokenTexts(sample: Sample): string[] {
  if (sample.kind === 'text') return [sample.text];
  return sample.turns.filter((turn) => turn.role === 'assistant' || turn.content.length < SHORT_TURN_CHARACTERS).map((turn) => turn.content);
}

function trainNetwork(
  recipe: TinyModelRecipe,
  source: DialogueSource,
  vocabulary: Vocabulary,
  onProgress: (progress: Progress) => void,
): LlamaNetwork {
  const windows = new TrainingWindows(source, new Tokenizer(vocabulary), controlTokenIds(vocabulary));
  const network = new LlamaNetwork({ ...recipe.shape, vocabularySize: paddedSize(vocabulary) }, recipe.batch, seededRandom(recipe.seed + 1));
  const insideLayers = (weight: Weight): boolean => weight.shape.kind === 'matrix' && weight.shape.name.startsWith('blk.');
  const adam = new AdamW(
    network.weights.filter((weight) => !insideLayers(weight)),
    recipe.weightDecay,
  );
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

/** `llama_token_type` of llama.cpp. */
const TOKEN_TYPE = { normal: 1, control: 3, unused: 5 } as const;
/** `MOSTLY_Q8_0` of the GGUF specification's `general.file_type`. */
const FILE_TYPE_Q8_0 = 7;

function ggufFile(recipe: TinyModelRecipe, vocabulary: Vocabulary, weights: readonly Weight[]): GgufFile {
  const text = (value: string): GgufValue => ({ type: 'string', value });
  const count = (value: number): GgufValue => ({ type: 'u32', value });
  const real = (value: number): GgufValue => ({ type: 'f32', value });
  const { shape } = recipe;
  const control = controlTokenIds(vocabulary);
  const size = paddedSize(vocabulary);
  const unused = Array.from({ length: size - vocabulary.pieces.length - CONTROL_TOKENS.length }, (_, index) => `<|unused_${index}|>`);
  const tokens = [...vocabulary.pieces, ...CONTROL_TOKENS, ...unused];
  const types = tokens.map((_, id) =>
    id < vocabulary.pieces.length ? TOKEN_TYPE.normal : id <= control.turnEnd ? TOKEN_TYPE.control : TOKEN_TYPE.unused,
  );
  return {
    metadata: [
      ['general.architecture', text('llama')],
      ['general.name', text('farebox-tiny')],
      ['general.license', text('apache-2.0')],
      ['general.file_type', count(FILE_TYPE_Q8_0)],
      ['general.quantization_version', count(2)],
      ['llama.context_length', count(recipe.contextLength)],
      ['llama.embedding_length', count(shape.width)],
      ['llama.block_count', count(shape.layers)],
      ['llama.feed_forward_length', count(shape.feedForwardWidth)],
      ['llama.attention.head_count', count(shape.heads)],
      ['llama.attention.head_count_kv', count(shape.heads)],
      ['llama.attention.layer_norm_rms_epsilon', real(shape.normEpsilon)],
      ['llama.rope.dimension_count', count(shape.width / shape.heads)],
      ['llama.rope.freq_base', real(shape.rotaryBase)],
      ['llama.vocab_size', count(size)],
      ['tokenizer.ggml.model', text('gpt2')],
      ['tokenizer.ggml.pre', text('gpt-2')],
      ['tokenizer.ggml.tokens', { type: 'string[]', value: tokens }],
      ['tokenizer.ggml.token_type', { type: 'i32[]', value: types }],
      ['tokenizer.ggml.merges', { type: 'string[]', value: vocabulary.merges }],
      ['tokenizer.ggml.bos_token_id', count(control.endOfText)],
      ['tokenizer.ggml.eos_token_id', count(control.turnEnd)],
      ['tokenizer.ggml.eot_token_id', count(control.turnEnd)],
      ['tokenizer.ggml.padding_token_id', count(control.endOfText)],
      ['tokenizer.ggml.add_bos_token', { type: 'bool', value: false }],
      ['tokenizer.chat_template', text(CHAT_TEMPLATE)],
    ],
    tensors: weights.map(ggufTensor),
  };
}

function ggufTensor({ shape, values }: Weight): GgufTensor {
  if (shape.kind === 'matrix') return { name: shape.name, type: 'Q8_0', extents: [shape.columns, shape.rows], bytes: quantizeQ8_0(values.values) };
  return { name: shape.name, type: 'F32', extents: [shape.columns], bytes: littleEndian(values.values) };
}

function littleEndian(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => view.setFloat32(index * 4, value, true));
  return bytes;
}
