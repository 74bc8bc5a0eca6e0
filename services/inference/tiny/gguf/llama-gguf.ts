/** A trained network and its vocabulary as a GGUF file of llama.cpp's `llama` architecture, with 8-bit matrices. */
import type { Vocabulary } from '../tokenizer/byte-pair-encoding.js';
import { CHAT_TEMPLATE, CONTROL_TOKENS, controlTokenIds } from '../tokenizer/chat-format.js';
import type { NetworkShape } from '../trainer/network-shape.js';
import type { Weight } from '../trainer/weight.js';
import type { GgufFile, GgufTensor, GgufValue } from './gguf-writer.js';
import { quantizeQ8_0 } from './q8-0.js';

export const CORPUS_DIGEST_KEY = 'farebox.corpus_sha256';
export const PROBE_DIGEST_KEY = 'farebox.probe_sha256';

/** `llama_token_type` of llama.cpp's `llama.h`. */
const TOKEN_TYPE = { normal: 1, control: 3, unused: 5 } as const;
/** `MOSTLY_Q8_0` of the specification's `general.file_type`. */
const FILE_TYPE_Q8_0 = 7;
const QUANTIZATION_VERSION = 2;

/** What the file says of its making. A test makes the fingerprint again, so that a file older than its sources is noticed. */
export type SourcesFingerprint = { readonly corpusSha256: string; readonly probeSha256: string };

export type LlamaModel = {
  readonly shape: Omit<NetworkShape, 'vocabularySize'>;
  readonly contextLength: number;
  readonly vocabulary: Vocabulary;
  /** Rows of the embedding; tokens beyond the vocabulary are marked as unused. */
  readonly vocabularySize: number;
  readonly weights: readonly Weight[];
  readonly fingerprint: SourcesFingerprint | null;
};

export function llamaGguf(model: LlamaModel): GgufFile {
  const { fingerprint } = model;
  const digests: [string, GgufValue][] =
    fingerprint === null
      ? []
      : [
          [CORPUS_DIGEST_KEY, text(fingerprint.corpusSha256)],
          [PROBE_DIGEST_KEY, text(fingerprint.probeSha256)],
        ];
  return {
    metadata: [...generalMetadata(), ...digests, ...networkMetadata(model), ...tokenizerMetadata(model)],
    tensors: model.weights.map(ggufTensor),
  };
}

const text = (value: string): GgufValue => ({ type: 'string', value });
const count = (value: number): GgufValue => ({ type: 'u32', value });
const real = (value: number): GgufValue => ({ type: 'f32', value });

function generalMetadata(): [string, GgufValue][] {
  return [
    ['general.architecture', text('llama')],
    ['general.name', text('farebox-tiny')],
    ['general.license', text('apache-2.0')],
    ['general.file_type', count(FILE_TYPE_Q8_0)],
    ['general.quantization_version', count(QUANTIZATION_VERSION)],
  ];
}

function networkMetadata({ shape, contextLength, vocabularySize }: LlamaModel): [string, GgufValue][] {
  return [
    ['llama.context_length', count(contextLength)],
    ['llama.embedding_length', count(shape.width)],
    ['llama.block_count', count(shape.layers)],
    ['llama.feed_forward_length', count(shape.feedForwardWidth)],
    ['llama.attention.head_count', count(shape.heads)],
    ['llama.attention.head_count_kv', count(shape.heads)],
    ['llama.attention.layer_norm_rms_epsilon', real(shape.normEpsilon)],
    ['llama.rope.dimension_count', count(shape.width / shape.heads)],
    ['llama.rope.freq_base', real(shape.rotaryBase)],
    ['llama.vocab_size', count(vocabularySize)],
  ];
}

function tokenizerMetadata({ vocabulary, vocabularySize }: LlamaModel): [string, GgufValue][] {
  const control = controlTokenIds(vocabulary);
  const named = [...vocabulary.pieces, ...CONTROL_TOKENS];
  const unused = Array.from({ length: vocabularySize - named.length }, (_, index) => `<|unused_${index}|>`);
  const types = [
    ...vocabulary.pieces.map(() => TOKEN_TYPE.normal),
    ...CONTROL_TOKENS.map(() => TOKEN_TYPE.control),
    ...unused.map(() => TOKEN_TYPE.unused),
  ];
  return [
    ['tokenizer.ggml.model', text('gpt2')],
    ['tokenizer.ggml.pre', text('gpt-2')],
    ['tokenizer.ggml.tokens', { type: 'string[]', value: [...named, ...unused] }],
    ['tokenizer.ggml.token_type', { type: 'i32[]', value: types }],
    ['tokenizer.ggml.merges', { type: 'string[]', value: vocabulary.merges }],
    ['tokenizer.ggml.bos_token_id', count(control.endOfText)],
    ['tokenizer.ggml.eos_token_id', count(control.turnEnd)],
    ['tokenizer.ggml.eot_token_id', count(control.turnEnd)],
    ['tokenizer.ggml.padding_token_id', count(control.endOfText)],
    ['tokenizer.ggml.add_bos_token', { type: 'bool', value: false }],
    ['tokenizer.chat_template', text(CHAT_TEMPLATE)],
  ];
}

/** Normalisation gains stay 32-bit, as in every quantised llama file: they are few, and llama.cpp multiplies by them directly. */
function ggufTensor({ shape, values }: Weight): GgufTensor {
  if (shape.kind === 'gain') return { name: shape.name, type: 'F32', extents: [shape.columns], bytes: littleEndian(values.values) };
  return { name: shape.name, type: 'Q8_0', extents: [shape.columns, shape.rows], bytes: quantizeQ8_0(values.values) };
}

function littleEndian(values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  values.forEach((value, index) => {
    view.setFloat32(index * 4, value, true);
  });
  return bytes;
}
