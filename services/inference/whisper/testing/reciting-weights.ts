/**
 * Weights for whisper.cpp, made by hand instead of by training: whatever they hear, they recite one sentence for every two seconds. The real
 * loader and the real decoding loop run on them, in a file of two megabytes that is written in a moment.
 *
 * How it recites: each token of the sentence owns one dimension, as its embedding. The decoder's only layer adds nothing through attention and
 * moves the dimension of the last token to that of the next one, so that the tied output layer names the next token with near certainty.
 */

/** Multilingual whisper: 99 languages. Sizes below this have other token numbers. */
const VOCABULARY = 51_865;
const TOKEN = { end: 50_257, start: 50_258, english: 50_259, transcribe: 50_359, timeZero: 50_364 } as const;
/** Timestamps count in 20 ms. */
const TIMESTAMPS_PER_SECOND = 50;

export const RECITED_SECONDS = 2;
const WORDS = [' Farebox', ' hears', ' you.'];
export const RECITED_TEXT = WORDS.join('');

const STATE = 16;
const HIDDEN = 4 * STATE;
const AUDIO_CONTEXT = 1_500;
const TEXT_CONTEXT = 448;
const MELS = 80;
const FFT_BINS = 201;
const MAGIC = 0x67676d6c;
const FLOAT_32 = 0;
const FLOAT_16 = 1;
/** The only values that the weights need, as half floats. */
const HALF: ReadonlyMap<number, number> = new Map([
  [0, 0],
  [1, 0x3c00],
  [-1, 0xbc00],
  [4, 0x4400],
]);

/** What follows what; the first word's token is 0. */
const SENTENCE = [
  TOKEN.start,
  TOKEN.english,
  TOKEN.transcribe,
  TOKEN.timeZero,
  ...WORDS.keys(),
  TOKEN.timeZero + RECITED_SECONDS * TIMESTAMPS_PER_SECOND,
  TOKEN.end,
];

/** A ggml file as `whisper_model_load` of whisper.cpp reads it. The same bytes every time. */
export function recitingWeights(): Buffer {
  return Buffer.concat([header(), melFilters(), vocabulary(), ...encoder(), ...decoder()]);
}

function header(): Buffer {
  const textAndAudio = [AUDIO_CONTEXT, STATE, 1, 1, TEXT_CONTEXT, STATE, 1, 1];
  return integers([MAGIC, VOCABULARY, ...textAndAudio, MELS, FLOAT_16]);
}

function melFilters(): Buffer {
  return Buffer.concat([integers([MELS, FFT_BINS]), floats(new Float32Array(MELS * FFT_BINS))]);
}

/** Words that are not in the file get a name of whisper.cpp's own. */
function vocabulary(): Buffer {
  // whisper.cpp looks the blank up to keep an answer from beginning with it.
  const words = [...WORDS, ' '].map((word) => Buffer.concat([integers([Buffer.byteLength(word)]), Buffer.from(word)]));
  return Buffer.concat([integers([words.length]), ...words]);
}

function encoder(): Buffer[] {
  return [
    tensor('encoder.positional_embedding', [STATE, AUDIO_CONTEXT]),
    tensor('encoder.conv1.weight', [3, MELS, STATE]),
    tensor('encoder.conv1.bias', [1, STATE]),
    tensor('encoder.conv2.weight', [3, STATE, STATE]),
    tensor('encoder.conv2.bias', [1, STATE]),
    ...norm('encoder.ln_post', 1),
    ...attention('encoder.blocks.0.attn'),
    ...perceptron('encoder.blocks.0', new Float32Array(HIDDEN * STATE), new Float32Array(HIDDEN * STATE)),
  ];
}

function decoder(): Buffer[] {
  const embeddings = new Float32Array(VOCABULARY * STATE);
  for (const [dimension, token] of SENTENCE.entries()) embeddings[token * STATE + dimension] = 1;
  return [
    tensor('decoder.positional_embedding', [STATE, TEXT_CONTEXT]),
    tensor('decoder.token_embedding.weight', [STATE, VOCABULARY], embeddings),
    ...norm('decoder.ln', 10),
    ...attention('decoder.blocks.0.attn'),
    ...attention('decoder.blocks.0.cross_attn'),
    ...perceptron('decoder.blocks.0', recognise(), moveOn()),
  ];
}

/** Hidden unit d lights up for dimension d alone: one hot dimension of 16 is 3.9 after normalisation, the others are negative. */
function recognise(): Float32Array {
  const weight = new Float32Array(HIDDEN * STATE);
  for (let dimension = 0; dimension < STATE; dimension += 1) weight[dimension * STATE + dimension] = 4;
  return weight;
}

/** What lit up takes its own dimension away and sets the next. */
function moveOn(): Float32Array {
  const weight = new Float32Array(STATE * HIDDEN);
  for (let dimension = 0; dimension + 1 < SENTENCE.length; dimension += 1) {
    weight[dimension * HIDDEN + dimension] = -1;
    weight[(dimension + 1) * HIDDEN + dimension] = 1;
  }
  return weight;
}

function perceptron(block: string, into: Float32Array, outOf: Float32Array): Buffer[] {
  return [
    ...norm(`${block}.mlp_ln`, 1),
    tensor(`${block}.mlp.0.weight`, [STATE, HIDDEN], into),
    tensor(`${block}.mlp.0.bias`, [HIDDEN]),
    tensor(`${block}.mlp.2.weight`, [HIDDEN, STATE], outOf),
    tensor(`${block}.mlp.2.bias`, [STATE]),
  ];
}

function attention(name: string): Buffer[] {
  const square = [STATE, STATE];
  return [
    ...norm(`${name}_ln`, 1),
    tensor(`${name}.query.weight`, square),
    tensor(`${name}.query.bias`, [STATE]),
    tensor(`${name}.key.weight`, square),
    tensor(`${name}.value.weight`, square),
    tensor(`${name}.value.bias`, [STATE]),
    tensor(`${name}.out.weight`, square),
    tensor(`${name}.out.bias`, [STATE]),
  ];
}

function norm(name: string, gain: number): Buffer[] {
  return [tensor(`${name}.weight`, [STATE], new Float32Array(STATE).fill(gain)), tensor(`${name}.bias`, [STATE])];
}

/** `shape` as ggml counts: the fastest dimension first. Zeros where no values are given. Matrices are halves, as whisper.cpp wants them. */
function tensor(name: string, shape: readonly number[], values?: Float32Array): Buffer {
  const count = shape.reduce((product, size) => product * size, 1);
  const body = values ?? new Float32Array(count);
  const isHalf = name.endsWith('.weight') && shape.length > 1;
  const head = integers([shape.length, Buffer.byteLength(name), isHalf ? FLOAT_16 : FLOAT_32, ...shape]);
  return Buffer.concat([head, Buffer.from(name), isHalf ? halves(body) : floats(body)]);
}

function integers(values: readonly number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) buffer.writeUInt32LE(value, index * 4);
  return buffer;
}

function halves(values: Float32Array): Buffer {
  const buffer = Buffer.alloc(values.length * 2);
  for (const [index, value] of values.entries()) {
    const half = HALF.get(value);
    if (half === undefined) throw new Error(`${value} has no half float here`);
    if (half !== 0) buffer.writeUInt16LE(half, index * 2);
  }
  return buffer;
}

function floats(values: Float32Array): Buffer {
  const buffer = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) if (value !== 0) buffer.writeFloatLE(value, index * 4);
  return buffer;
}
