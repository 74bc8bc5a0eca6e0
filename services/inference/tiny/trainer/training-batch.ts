/** What one training step reads. */

/** Equally long windows; their length is a multiple of 64. */
export type BatchExtents = { readonly windows: number; readonly windowLength: number };

/** Windows one after the other; `windows × windowLength` entries in each array. */
export type TrainingBatch = {
  readonly tokens: Int32Array;
  /** The token that should follow, or `NO_TARGET` where the prediction does not count. */
  readonly targets: Int32Array;
  readonly positions: Int32Array;
  /** The first row of the same window that a row may attend to. */
  readonly visibleFrom: Int32Array;
  /** The row where the row's own conversation begins; what is visible before it is history. */
  readonly ownFrom: Int32Array;
  /** How many times as long as it is the history of a row counts. */
  readonly historyRepeats: Float32Array;
  /** How many times a row counts within its own conversation. */
  readonly ownRepeats: Float32Array;
};

/** Who may attend to what, and how much. */
export type Visibility = Pick<TrainingBatch, 'visibleFrom' | 'ownFrom' | 'historyRepeats' | 'ownRepeats'>;

export const NO_TARGET = -1;
