/** What the echo engine hears: how long the sound is and how loud, in one segment. */
import { SPEECH_SAMPLES_PER_SECOND } from '../../../events/contract/index.js';
import type { Transcript, TranscriptionRun } from '../engine.js';

const BYTES_PER_SAMPLE = 2;
const FULL_SCALE = 32_768;
/** Of full scale: -60 dB, below what a microphone in a quiet room gives. */
const SILENCE_MAX = 0.001;
const LANGUAGE_DEFAULT = 'en';

/** Looked at, evenly over the sound, so that hours of it do not hold up the event loop: some milliseconds' work. */
const SAMPLES_HEARD_MAX = 1_000_000;

export function echoTranscript({ samples, language }: Pick<TranscriptionRun, 'samples' | 'language'>): Transcript {
  const count = Math.floor(samples.length / BYTES_PER_SAMPLE);
  const seconds = count / SPEECH_SAMPLES_PER_SECOND;
  const loudness = loudnessOf(samples, count);
  const heard = loudness < SILENCE_MAX ? 'silence' : `sound at ${Math.round(loudness * 100)} % of full scale`;
  const text = `${seconds.toFixed(1)} seconds of ${heard}`;
  const segment = { startMs: 0, endMs: Math.round(seconds * 1_000), text };
  return { text, language: language ?? LANGUAGE_DEFAULT, segments: [segment] };
}

/** Root mean square, of full scale. */
function loudnessOf(samples: Buffer, count: number): number {
  const stride = Math.max(1, Math.ceil(count / SAMPLES_HEARD_MAX));
  let squares = 0;
  let heard = 0;
  for (let index = 0; index < count; index += stride) {
    squares += (samples.readInt16LE(index * BYTES_PER_SAMPLE) / FULL_SCALE) ** 2;
    heard += 1;
  }
  return heard === 0 ? 0 : Math.sqrt(squares / heard);
}
