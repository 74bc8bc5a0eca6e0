/** What one training step reads. */

/** Equally long windows; their length is a multiple of 64. */
export type BatchExtents = { readonly windows: number; readonly windowLength: number };

/** Windows one after the other; `windows × windowLength` entries in each array. */
export type TrainingBatch = {
  readonly tokens: Int32Array;
  /** The token that should follow, or `NO_TARGET` where the prediction does not count. */
  readonly targets: Int32Array;
  readonly positions: Int32Array;
  /** The first row of the same window that a row may attend to: where its conversation begins. */
  readonly visibleFrom: Int32Array;
};

export const NO_TARGET = -1;
