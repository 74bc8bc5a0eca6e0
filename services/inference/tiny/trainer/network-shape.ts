/** The extents of a llama-architecture network and the names its weights have in a GGUF file. */

export type NetworkShape = {
  readonly vocabularySize: number;
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly feedForwardWidth: number;
  /** Added to the mean square before the root in each normalisation. */
  readonly normEpsilon: number;
  /** Base of the rotary position frequencies. */
  readonly rotaryBase: number;
};

export type WeightShape = {
  /** As llama.cpp expects it: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md#standardized-tensor-names */
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly kind: 'matrix' | 'gain';
};

/** In the order of the file. The output matrix is the embedding itself, which llama.cpp uses when `output.weight` is absent. */
export function weightShapes(shape: NetworkShape): WeightShape[] {
  const { vocabularySize, width, layers, feedForwardWidth } = shape;
  const matrix = (name: string, rows: number, columns: number): WeightShape => ({ name, rows, columns, kind: 'matrix' });
  const gain = (name: string): WeightShape => ({ name, rows: 1, columns: width, kind: 'gain' });
  return [
    matrix('token_embd.weight', vocabularySize, width),
    ...Array.from({ length: layers }, (_, layer) => [
      gain(`blk.${layer}.attn_norm.weight`),
      matrix(`blk.${layer}.attn_q.weight`, width, width),
      matrix(`blk.${layer}.attn_k.weight`, width, width),
      matrix(`blk.${layer}.attn_v.weight`, width, width),
      matrix(`blk.${layer}.attn_output.weight`, width, width),
      gain(`blk.${layer}.ffn_norm.weight`),
      matrix(`blk.${layer}.ffn_gate.weight`, feedForwardWidth, width),
      matrix(`blk.${layer}.ffn_up.weight`, feedForwardWidth, width),
      matrix(`blk.${layer}.ffn_down.weight`, width, feedForwardWidth),
    ]).flat(),
    gain('output_norm.weight'),
  ];
}
