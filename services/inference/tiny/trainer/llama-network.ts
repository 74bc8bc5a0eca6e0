/**
 * A small network of llama.cpp's `llama` architecture with its gradient: token embedding, layers of normalised rotary attention and a
 * SwiGLU feed-forward, and the embedding again as output. Written out by hand, because the gradient of this one shape is shorter than a
 * general differentiator. Sources: Touvron et al. 2023, "LLaMA"; Press and Wolf 2017 for the tied output.
 */
import type { Random } from '../random.js';
import { Attention } from './attention.js';
import { exponential } from './exact-math.js';
import { type LayerActivations, layerActivations } from './layer-activations.js';
import { gateBackward, gateForward, normalize, normalizeGradient } from './layer-parts.js';
import { BLOCK_ROWS, type Matrix, MatrixKernel } from './matrix-kernel.js';
import type { NetworkShape } from './network-shape.js';
import { RotaryPositions } from './rotary-positions.js';
import { type BatchExtents, NO_TARGET, type TrainingBatch } from './training-batch.js';
import { initialWeights, transpose, type Weight } from './weight.js';

/** Room for the longest list of matrices; checked on every allocation. */
const MEMORY_BYTES = 256 * 1024 * 1024;

type Layer = {
  readonly attentionNorm: Weight;
  readonly query: Weight;
  readonly key: Weight;
  readonly value: Weight;
  readonly attentionOutput: Weight;
  readonly feedForwardNorm: Weight;
  readonly gate: Weight;
  readonly up: Weight;
  readonly down: Weight;
  readonly kept: LayerActivations;
};

export class LlamaNetwork {
  readonly weights: readonly Weight[];
  readonly #shape: NetworkShape;
  readonly #rows: number;
  readonly kernel: MatrixKernel;
  readonly #attention: Attention;
  readonly #rotary: RotaryPositions;
  readonly #embedding: Weight;
  readonly #outputNorm: Weight;
  readonly #layers: readonly Layer[];
  /** The residual stream after the last layer, its normalised form, and scratch of the backward pass. */
  readonly #final: Matrix;
  readonly #finalNormed: Matrix;
  readonly #finalInverses: Float32Array;
  readonly #picked: Matrix;
  readonly #pickedGradient: Matrix;
  readonly #logits: Matrix;
  readonly #narrow: readonly [Matrix, Matrix, Matrix, Matrix, Matrix];
  readonly #wide: readonly [Matrix, Matrix, Matrix];
  readonly #transposedRows: (columns: number) => Matrix;

  constructor(shape: NetworkShape, batch: BatchExtents, random: Random) {
    const kernel = new MatrixKernel(MEMORY_BYTES);
    const rows = batch.windows * batch.windowLength;
    const headWidth = shape.width / shape.heads;
    const narrow = (): Matrix => kernel.matrix(rows, shape.width);
    const wide = (): Matrix => kernel.matrix(rows, shape.feedForwardWidth);
    this.#shape = shape;
    this.#rows = rows;
    this.kernel = kernel;
    this.#attention = new Attention(kernel, { ...batch, heads: shape.heads, headWidth });
    this.#rotary = new RotaryPositions(headWidth, shape.rotaryBase, rows);
    this.weights = initialWeights(kernel, shape, random);
    const byName = new Map(this.weights.map((weight) => [weight.shape.name, weight]));
    const named = (name: string): Weight => {
      const weight = byName.get(`${name}.weight`);
      if (weight === undefined) throw new Error(`no weight ${name}`);
      return weight;
    };
    this.#embedding = named('token_embd');
    this.#outputNorm = named('output_norm');
    this.#layers = Array.from({ length: shape.layers }, (_, layer) => ({
      attentionNorm: named(`blk.${layer}.attn_norm`),
      query: named(`blk.${layer}.attn_q`),
      key: named(`blk.${layer}.attn_k`),
      value: named(`blk.${layer}.attn_v`),
      attentionOutput: named(`blk.${layer}.attn_output`),
      feedForwardNorm: named(`blk.${layer}.ffn_norm`),
      gate: named(`blk.${layer}.ffn_gate`),
      up: named(`blk.${layer}.ffn_up`),
      down: named(`blk.${layer}.ffn_down`),
      kept: layerActivations(kernel, this.#attention, rows, shape),
    }));
    this.#final = narrow();
    this.#finalNormed = narrow();
    this.#finalInverses = new Float32Array(rows);
    this.#picked = narrow();
    this.#pickedGradient = narrow();
    this.#logits = kernel.matrix(rows, shape.vocabularySize);
    this.#narrow = [narrow(), narrow(), narrow(), narrow(), narrow()];
    this.#wide = [wide(), wide(), wide()];
    const scratch = new Map<number, Matrix>();
    for (const columns of [shape.width, shape.feedForwardWidth, shape.vocabularySize]) {
      if (!scratch.has(columns)) scratch.set(columns, kernel.matrix(columns, rows));
    }
    this.#transposedRows = (columns) => scratch.get(columns) as Matrix;
  }

  /** Fills the gradient of every weight and returns the mean loss in nats per counted target. */
  learn(batch: TrainingBatch): number {
    for (const weight of this.weights) {
      weight.gradient.values.fill(0);
      if (weight.transposed !== null) transpose(weight.transposed, weight.values);
    }
    this.#rotary.place(batch.positions);
    this.#forward(batch);
    const gradient = this.#narrow[0];
    gradient.values.fill(0);
    const loss = this.#outputLoss(batch.targets, gradient);
    for (const layer of this.#layers.toReversed()) this.#layerBackward(layer, gradient);
    this.#embeddingBackward(batch.tokens, gradient);
    return loss;
  }

  #forward({ tokens, visibleFrom }: TrainingBatch): void {
    const width = this.#shape.width;
    const first = this.#layers[0]?.kept.input ?? this.#final;
    for (let row = 0; row < this.#rows; row++) {
      const from = (tokens[row] as number) * width;
      first.values.set(this.#embedding.values.values.subarray(from, from + width), row * width);
    }
    this.#layers.forEach((layer, index) => {
      this.#layerForward(layer, visibleFrom, this.#layers[index + 1]?.kept.input ?? this.#final);
    });
    normalize(this.#finalNormed, this.#final, this.#outputNorm.values, this.#finalInverses, this.#rows, this.#shape.normEpsilon);
  }

  #project(output: Matrix, input: Matrix, weight: Weight): void {
    output.values.fill(0);
    this.kernel.multiplyAdd(output, input, weight.transposed as Matrix);
  }

  #layerForward(layer: Layer, visibleFrom: Int32Array, output: Matrix): void {
    const { kept } = layer;
    const epsilon = this.#shape.normEpsilon;
    normalize(kept.attentionNormed, kept.input, layer.attentionNorm.values, kept.attentionInverses, this.#rows, epsilon);
    this.#project(kept.queries, kept.attentionNormed, layer.query);
    this.#project(kept.keys, kept.attentionNormed, layer.key);
    this.#project(kept.values, kept.attentionNormed, layer.value);
    this.#rotary.turn(kept.queries, this.#rows, 1);
    this.#rotary.turn(kept.keys, this.#rows, 1);
    kept.mixed.values.fill(0);
    this.#attention.forward({ ...kept, visibleFrom });
    kept.middle.values.set(kept.input.values);
    this.kernel.multiplyAdd(kept.middle, kept.mixed, layer.attentionOutput.transposed as Matrix);
    normalize(kept.feedForwardNormed, kept.middle, layer.feedForwardNorm.values, kept.feedForwardInverses, this.#rows, epsilon);
    this.#project(kept.gated, kept.feedForwardNormed, layer.gate);
    this.#project(kept.raised, kept.feedForwardNormed, layer.up);
    gateForward(kept.activated, kept.gated, kept.raised, kept.gated.values.length);
    output.values.set(kept.middle.values);
    this.kernel.multiplyAdd(output, kept.activated, layer.down.transposed as Matrix);
  }

  /** Softmax cross-entropy at the rows that have a target only: the output matrix is the largest and half of the rows do not count. */
  #outputLoss(targets: Int32Array, gradient: Matrix): number {
    const { width, vocabularySize } = this.#shape;
    const counted: number[] = [];
    for (let row = 0; row < this.#rows; row++) if (targets[row] !== NO_TARGET) counted.push(row);
    if (counted.length === 0) return 0;
    const padded = Math.ceil(counted.length / BLOCK_ROWS) * BLOCK_ROWS;
    this.#picked.values.fill(0, 0, padded * width);
    counted.forEach((row, index) => {
      this.#picked.values.set(this.#finalNormed.values.subarray(row * width, (row + 1) * width), index * width);
    });
    this.#logits.values.fill(0, 0, padded * vocabularySize);
    this.kernel.multiplyAdd(this.#logits, this.#picked, this.#embedding.transposed as Matrix, padded);
    let loss = 0;
    counted.forEach((row, index) => {
      loss += crossEntropy(this.#logits.values, index * vocabularySize, vocabularySize, targets[row] as number, 1 / counted.length);
    });
    this.#logits.values.fill(0, counted.length * vocabularySize, padded * vocabularySize);
    this.#pickedGradient.values.fill(0, 0, padded * width);
    this.kernel.multiplyAdd(this.#pickedGradient, this.#logits, this.#embedding.values, padded);
    this.#weightGradient(this.#embedding, this.#logits, this.#picked, padded);
    const normedGradient = this.#narrow[1];
    normedGradient.values.fill(0);
    counted.forEach((row, index) => {
      normedGradient.values.set(this.#pickedGradient.values.subarray(index * width, (index + 1) * width), row * width);
    });
    normalizeGradient({
      outputGradient: normedGradient,
      input: this.#final,
      inputGradient: gradient,
      gain: this.#outputNorm.values,
      gainGradient: this.#outputNorm.gradient,
      inverses: this.#finalInverses,
      rows: this.#rows,
    });
    return loss / counted.length;
  }

  /** `weight.gradient += outputGradientᵀ · input`. */
  #weightGradient(weight: Weight, outputGradient: Matrix, input: Matrix, rows = this.#rows): void {
    const transposed = this.#transposedRows(outputGradient.columns);
    transpose(transposed, outputGradient, rows);
    const { address, columns } = transposed;
    const left = { address, strideBytes: columns * 4 };
    const right = { address: input.address, strideBytes: input.columns * 4 };
    const result = { address: weight.gradient.address, strideBytes: weight.gradient.columns * 4 };
    this.kernel.multiplyAddWindows(result, left, right, weight.shape.rows, weight.shape.columns, rows);
  }

  /** Adds the weight's gradient and the input's. */
  #projectBackward(weight: Weight, outputGradient: Matrix, input: Matrix, inputGradient: Matrix): void {
    this.#weightGradient(weight, outputGradient, input);
    this.kernel.multiplyAdd(inputGradient, outputGradient, weight.values);
  }

  /** Takes the gradient of the layer's output and leaves that of its input in its place. */
  #layerBackward(layer: Layer, gradient: Matrix): void {
    const { kept } = layer;
    const [, normedGradient, queryGradient, keyGradient, valueGradient] = this.#narrow;
    const [activatedGradient, gateGradient, upGradient] = this.#wide;
    activatedGradient.values.fill(0);
    this.#projectBackward(layer.down, gradient, kept.activated, activatedGradient);
    const count = kept.gated.values.length;
    gateBackward({ outputGradient: activatedGradient, gate: kept.gated, up: kept.raised, gateGradient, upGradient, count });
    normedGradient.values.fill(0);
    this.#projectBackward(layer.gate, gateGradient, kept.feedForwardNormed, normedGradient);
    this.#projectBackward(layer.up, upGradient, kept.feedForwardNormed, normedGradient);
    normalizeGradient({
      outputGradient: normedGradient,
      input: kept.middle,
      inputGradient: gradient,
      gain: layer.feedForwardNorm.values,
      gainGradient: layer.feedForwardNorm.gradient,
      inverses: kept.feedForwardInverses,
      rows: this.#rows,
    });
    const mixedGradient = normedGradient;
    mixedGradient.values.fill(0);
    this.#projectBackward(layer.attentionOutput, gradient, kept.mixed, mixedGradient);
    for (const part of [queryGradient, keyGradient, valueGradient]) part.values.fill(0);
    this.#attention.backward({ ...kept, mixedGradient, queryGradient, keyGradient, valueGradient });
    this.#rotary.turn(queryGradient, this.#rows, -1);
    this.#rotary.turn(keyGradient, this.#rows, -1);
    normedGradient.values.fill(0);
    this.#projectBackward(layer.query, queryGradient, kept.attentionNormed, normedGradient);
    this.#projectBackward(layer.key, keyGradient, kept.attentionNormed, normedGradient);
    this.#projectBackward(layer.value, valueGradient, kept.attentionNormed, normedGradient);
    normalizeGradient({
      outputGradient: normedGradient,
      input: kept.input,
      inputGradient: gradient,
      gain: layer.attentionNorm.values,
      gainGradient: layer.attentionNorm.gradient,
      inverses: kept.attentionInverses,
      rows: this.#rows,
    });
  }

  #embeddingBackward(tokens: Int32Array, gradient: Matrix): void {
    const width = this.#shape.width;
    const target = this.#embedding.gradient.values;
    for (let row = 0; row < this.#rows; row++) {
      const to = (tokens[row] as number) * width;
      for (let i = 0; i < width; i++) target[to + i] = (target[to + i] as number) + (gradient.values[row * width + i] as number);
    }
  }
}

/** Replaces one row of logits by its loss gradient times `share`; returns the loss in nats. */
function crossEntropy(logits: Float32Array, start: number, size: number, target: number, share: number): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = start; i < start + size; i++) largest = Math.max(largest, logits[i] as number);
  const targetLogit = logits[start + target] as number;
  let sum = 0;
  for (let i = start; i < start + size; i++) {
    const power = exponential((logits[i] as number) - largest);
    logits[i] = power;
    sum += power;
  }
  for (let i = start; i < start + size; i++) logits[i] = ((logits[i] as number) / sum) * share;
  logits[start + target] = (logits[start + target] as number) - share;
  return Math.log(sum) + largest - targetLogit;
}
