/** A transcript as the engine tells it, and in each of the formats that a client may ask for. */
import { z } from 'zod';

const milliseconds = z.number().nonnegative();

/** As `Transcript` of services/inference/engine.ts, which comes as JSON text. */
export const TranscriptSchema = z.object({
  text: z.string(),
  language: z.string(),
  segments: z.array(z.object({ startMs: milliseconds, endMs: milliseconds, text: z.string() })),
});
export type Transcript = z.infer<typeof TranscriptSchema>;
type Segment = Transcript['segments'][number];

/** `null` for what is no transcript. */
export function transcriptOf(text: string): Transcript | null {
  try {
    return TranscriptSchema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** SubRip: numbered cues, a comma before the milliseconds. */
export function srtOf({ segments }: Transcript): string {
  return segments.map((segment, index) => `${index + 1}\n${cueOf(segment, ',')}\n`).join('\n');
}

/** WebVTT (W3C): a header line, a point before the milliseconds. */
export function vttOf({ segments }: Transcript): string {
  return `WEBVTT\n\n${segments.map((segment) => `${cueOf(segment, '.')}\n`).join('\n')}`;
}

export function plainTextOf({ text }: Transcript): string {
  return `${text.trim()}\n`;
}

/** What OpenAI's `verbose_json` says beside the text; figures that this engine does not tell are left out. */
export function verboseOf({ text, language, segments }: Transcript, durationMs: number) {
  return {
    task: 'transcribe',
    language,
    duration: durationMs / 1_000,
    text: text.trim(),
    segments: segments.map((segment, id) => ({ id, start: segment.startMs / 1_000, end: segment.endMs / 1_000, text: segment.text })),
  };
}

/** A blank line would end the cue, and `-->` would begin a time line. */
function cueOf({ startMs, endMs, text }: Segment, decimalMark: string): string {
  const words = text
    .trim()
    .replaceAll('-->', '->')
    .replace(/\r?\n(\s*\r?\n)+/g, '\n');
  return `${clock(startMs, decimalMark)} --> ${clock(endMs, decimalMark)}\n${words}`;
}

/** hh:mm:ss and milliseconds; hours go on past 99. */
function clock(timeMs: number, decimalMark: string): string {
  const whole = Math.round(timeMs);
  const two = (value: number) => String(Math.floor(value)).padStart(2, '0');
  const seconds = `${two(whole / 3_600_000)}:${two((whole / 60_000) % 60)}:${two((whole / 1_000) % 60)}`;
  return `${seconds}${decimalMark}${String(whole % 1_000).padStart(3, '0')}`;
}
