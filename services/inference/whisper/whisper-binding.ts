/** The part of the whisper.cpp binding that is used here. Its own types come as sources that only its own compiler settings accept. */
import { createRequire } from 'node:module';

export type WhisperOptions = {
  readonly language: string;
  readonly temperature: number;
  readonly maxThreads: number;
  readonly nProcessors: number;
  readonly prompt?: string;
};

/** Times in milliseconds. */
export type WhisperResult = {
  readonly language?: string;
  readonly segments: readonly { readonly text: string; readonly t0: number; readonly t1: number }[];
};

export type WhisperContext = {
  /** 16-bit samples, 16 kHz mono. The promise settles only when all went well. */
  transcribeData(samples: ArrayBuffer, options: WhisperOptions): { readonly promise: Promise<WhisperResult> };
};

type Binding = { initWhisper(options: { readonly filePath: string; readonly useGpu: boolean }): Promise<WhisperContext> };

/** Rejects for a file that is no model. */
export function loadWhisper(modelPath: string): Promise<WhisperContext> {
  const { initWhisper } = createRequire(import.meta.url)('@fugood/whisper.node') as Binding;
  return initWhisper({ filePath: modelPath, useGpu: false });
}
