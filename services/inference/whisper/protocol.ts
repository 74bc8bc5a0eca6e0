/** What the whisper engine and its child process say to each other over Node's IPC channel. Both ends are compiled from this file. */
import type { Transcript } from '../engine.js';

/** Handed over as the child's only argument, as JSON. */
export type WhisperModelConfig = {
  /** Path of the ggml file. */
  readonly modelPath: string;
  readonly threads: number;
};

export type TranscriptionOrder = {
  readonly run: number;
  /** 16 kHz mono, 16-bit little-endian. */
  readonly samples: Uint8Array;
  readonly language: string | null;
  readonly prompt: string | null;
  readonly temperature: number;
};

export type FromWhisperChild =
  | { readonly kind: 'ready' }
  /** The model cannot be loaded; trying again would end the same way. */
  | { readonly kind: 'unusable'; readonly reason: string }
  | { readonly kind: 'transcribed'; readonly run: number; readonly transcript: Transcript }
  | { readonly kind: 'failed'; readonly run: number; readonly message: string };
