/** Vectors in OpenAI's shape: numbers, or base64 of little-endian 32-bit floats as the workers send them. */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { AnswerShape, CompletedRun } from '../../billed-runs/billed-run.js';
import { type AnswerStyle, metadataField } from '../../billed-runs/run-metadata.js';
import type { EmbeddingsAsk } from './request-schema.js';

const FLOAT_BYTES = 4;

/** Vectors' characters written in one turn of the event loop: some ten milliseconds of printing numbers. */
const TURN_CHARACTERS_MAX = 262_144;

export function embeddingsShape(ask: EmbeddingsAsk, style: AnswerStyle): AnswerShape {
  return {
    contentType: 'application/json',
    isWhole: ({ answers }) => answers.every(({ embedding }) => embedding !== null && embedding !== ''),
    body: async (run) => {
      const rest = JSON.stringify({
        model: run.model,
        usage: { prompt_tokens: run.usage.promptTokens, total_tokens: run.usage.promptTokens },
        ...metadataField(run, style),
      });
      return `{"object":"list","data":[${await entriesOf(run, ask.encoding)}],${rest.slice(1)}`;
    },
  };
}

/** In several turns: printing two million numbers in one would keep everybody else waiting for more than half a second. */
async function entriesOf({ answers }: CompletedRun, encoding: EmbeddingsAsk['encoding']): Promise<string> {
  const entries: string[] = [];
  let characters = 0;
  for (const [index, { embedding }] of answers.entries()) {
    const vector = embedding ?? '';
    entries.push(JSON.stringify({ object: 'embedding', index, embedding: encoding === 'base64' ? vector : floatsOf(vector) }));
    characters += vector.length;
    if (characters < TURN_CHARACTERS_MAX) continue;
    characters = 0;
    await nextTurn();
  }
  return entries.join(',');
}

export function floatsOf(base64: string): number[] {
  const bytes = Buffer.from(base64, 'base64');
  return Array.from({ length: Math.floor(bytes.length / FLOAT_BYTES) }, (_, index) => bytes.readFloatLE(index * FLOAT_BYTES));
}
