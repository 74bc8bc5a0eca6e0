/**
 * A llama-architecture model with random weights: it says nothing sensible, but endlessly, repeatably and with characters cut into several
 * tokens, which is what the engine's tests need. 320 tokens, two layers; made in a moment and loaded in a fraction of a second.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type GgufTensor, type GgufValue, writeGguf } from '../tiny/gguf/gguf-writer.js';

export type RandomModelShape = {
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly feedForwardWidth: number;
  readonly contextTokens: number;
};

export const SMALL_SHAPE: RandomModelShape = { width: 64, layers: 2, heads: 4, feedForwardWidth: 128, contextTokens: 2_048 };

export const CHAT_TEMPLATE = [
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}",
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
].join('');

/** All end an answer, so that a hot sampler meets one of them soon. */
const END_TOKENS = ['<|endoftext|>', '<|im_end|>', '<|eot_id|>', '<|end|>'];
const CONTROL_TOKENS = [...END_TOKENS, '<|im_start|>'];

/** The first three bytes of "😀" (F0 9F 98 80) in GPT-2's alphabet; the last one, and the two of "é" (C3 A9), are tokens as every byte is. */
const HALF_EMOJI = 'ðŁĺ';
const CHARACTER_PARTS: readonly number[] = [0x80, 0xc3, 0xa9];

const WORDS = ['Ġthe', 'Ġsea', 'Ġis', 'Ġfar', 'Ġand', 'Ġdeep', 'Ġold', 'Ġblue', 'Ġa', 'Ġboat', 'Ġgoes', 'Ġout', 'Ġat', 'Ġdawn'];

const TOKEN_TYPE = { normal: 1, control: 3 } as const;
const FILE_TYPE_F32 = 0;

/** Spread of the logits: an end token stands at zero, far below the likeliest ones, unless the temperature is high. */
const LOGIT_SPREAD = 2;

/** The bytes of the GGUF file. */
export function randomModel(shape: RandomModelShape = SMALL_SHAPE, seed = 7): Uint8Array {
  const random = normalNumbers(seed);
  const tokens = [...visibleBytes(), ...wordTokens(), ...CONTROL_TOKENS];
  const firstWord = 256;
  const firstControl = tokens.length - CONTROL_TOKENS.length;
  const { width, layers, feedForwardWidth } = shape;
  const matrix = (name: string, rows: number, columns: number, spread: number, isZero = (_row: number) => false): GgufTensor => {
    const values = new Float32Array(rows * columns);
    for (let at = 0; at < values.length; at += 1) values[at] = isZero(Math.floor(at / columns)) ? 0 : random() * spread;
    return { name, type: 'F32', extents: [columns, rows], bytes: new Uint8Array(values.buffer) };
  };
  const gain = (name: string): GgufTensor => ({
    name,
    type: 'F32',
    extents: [width],
    bytes: new Uint8Array(new Float32Array(width).fill(1).buffer),
  });
  const layerSpread = 1 / Math.sqrt(width);
  // Single bytes outside ASCII are as unlikely as the end, or the text would be mostly broken characters.
  const isUnlikely = (token: number) => {
    if (token >= firstWord) return token >= firstControl;
    return (token < 0x20 || token > 0x7e) && !CHARACTER_PARTS.includes(token);
  };
  const tensors: GgufTensor[] = [matrix('token_embd.weight', tokens.length, width, 1)];
  for (let layer = 0; layer < layers; layer += 1) {
    const name = (part: string) => `blk.${layer}.${part}.weight`;
    tensors.push(
      gain(name('attn_norm')),
      ...['attn_q', 'attn_k', 'attn_v', 'attn_output'].map((part) => matrix(name(part), width, width, layerSpread)),
      gain(name('ffn_norm')),
      matrix(name('ffn_gate'), feedForwardWidth, width, layerSpread),
      matrix(name('ffn_up'), feedForwardWidth, width, layerSpread),
      matrix(name('ffn_down'), width, feedForwardWidth, layerSpread),
    );
  }
  tensors.push(gain('output_norm.weight'), matrix('output.weight', tokens.length, width, LOGIT_SPREAD / Math.sqrt(width), isUnlikely));
  const types = tokens.map((_, token) => (token < firstControl ? TOKEN_TYPE.normal : TOKEN_TYPE.control));
  return writeGguf({ metadata: metadataOf(shape, tokens, types), tensors });
}

/** Writes the model into a directory of its own; `remove` deletes both. */
export function randomModelFile(shape?: RandomModelShape, seed?: number): { readonly path: string; remove(): void } {
  const directory = mkdtempSync(join(tmpdir(), 'farebox-model-'));
  const path = join(directory, 'random.gguf');
  writeFileSync(path, randomModel(shape, seed));
  return { path, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

function metadataOf(shape: RandomModelShape, tokens: readonly string[], types: readonly number[]): [string, GgufValue][] {
  const text = (value: string): GgufValue => ({ type: 'string', value });
  const count = (value: number): GgufValue => ({ type: 'u32', value });
  return [
    ['general.architecture', text('llama')],
    ['general.name', text('random')],
    ['general.file_type', count(FILE_TYPE_F32)],
    ['llama.context_length', count(shape.contextTokens)],
    ['llama.embedding_length', count(shape.width)],
    ['llama.block_count', count(shape.layers)],
    ['llama.feed_forward_length', count(shape.feedForwardWidth)],
    ['llama.attention.head_count', count(shape.heads)],
    ['llama.attention.head_count_kv', count(shape.heads)],
    ['llama.attention.layer_norm_rms_epsilon', { type: 'f32', value: 1e-5 }],
    ['llama.rope.dimension_count', count(shape.width / shape.heads)],
    ['tokenizer.ggml.model', text('gpt2')],
    ['tokenizer.ggml.pre', text('gpt-2')],
    ['tokenizer.ggml.tokens', { type: 'string[]', value: tokens }],
    ['tokenizer.ggml.token_type', { type: 'i32[]', value: types }],
    ['tokenizer.ggml.merges', { type: 'string[]', value: ['Ġ t', 'h e', 'Ġt he'] }],
    ['tokenizer.ggml.eos_token_id', count(tokens.indexOf('<|endoftext|>'))],
    ['tokenizer.ggml.eot_token_id', count(tokens.indexOf('<|im_end|>'))],
    ['tokenizer.ggml.add_bos_token', { type: 'bool', value: false }],
    ['tokenizer.chat_template', text(CHAT_TEMPLATE)],
  ];
}

function wordTokens(): string[] {
  // The merges' own results must be tokens.
  return ['Ġt', 'he', ...WORDS, HALF_EMOJI];
}

/** The 256 bytes in GPT-2's alphabet, in the order of their values. */
function visibleBytes(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const isVisible = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    if (isVisible) return String.fromCodePoint(byte);
    next += 1;
    return String.fromCodePoint(next - 1);
  });
}

/** Roughly normal numbers by the sum of four uniform ones (mulberry32), repeatable by seed. */
function normalNumbers(seed: number): () => number {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return () => (uniform() + uniform() + uniform() + uniform() - 2) * Math.sqrt(3);
}
