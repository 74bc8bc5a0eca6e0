/**
 * Reads the text that an answer's hash is made of (`answer-hash.ts`) back from what a client was sent: the JSON of a chat, completion, embedding or
 * transcription answer, or the server-sent events of a stream as they came.
 */
import { z } from 'zod';
import { type HashedAnswer, textOfAnswers } from '../../../events/contract/index.js';

const Call = z.object({ id: z.string(), function: z.object({ name: z.string(), arguments: z.string() }) });
const Chat = z.object({
  choices: z.array(z.object({ message: z.object({ content: z.string().nullable(), tool_calls: z.array(Call).optional() }) })),
});
const Completion = z.object({ choices: z.array(z.object({ text: z.string() })) });
const Embedding = z.object({ data: z.array(z.object({ embedding: z.union([z.string(), z.array(z.number())]) })) });
const Transcription = z.object({ text: z.string() });
const Chunk = z.object({
  choices: z.array(
    z.object({
      index: z.number().int().nonnegative().max(1_000),
      text: z.string().optional(),
      delta: z
        .object({
          content: z.string().nullish(),
          tool_calls: z
            .array(
              z.object({
                index: z.number().int().nonnegative().max(1_000),
                id: z.string().optional(),
                function: z.object({ name: z.string().optional(), arguments: z.string().optional() }).optional(),
              }),
            )
            .optional(),
        })
        .optional(),
    }),
  ),
});

/** `null` for what is no answer of these. */
export function answerTextOf(content: string): string | null {
  const answers = /^\s*(event|data|:)/.test(content) ? answersOfStream(content) : answersOfBody(content);
  return answers === null ? null : textOfAnswers(answers);
}

function answersOfBody(content: string): HashedAnswer[] | null {
  let body: unknown;
  try {
    body = JSON.parse(content);
  } catch {
    // A transcription may have been asked for as plain text; one line feed ends it.
    return [{ text: content.replace(/\r?\n$/, '') }];
  }
  const chat = Chat.safeParse(body);
  if (chat.success) {
    return chat.data.choices.map(({ message }) => ({
      text: message.content ?? '',
      toolCalls: (message.tool_calls ?? []).map((call) => ({ id: call.id, ...call.function })),
    }));
  }
  const completion = Completion.safeParse(body);
  if (completion.success) return completion.data.choices.map(({ text }) => ({ text }));
  const embedding = Embedding.safeParse(body);
  if (embedding.success) return embedding.data.data.map(({ embedding: vector }) => ({ text: base64Of(vector) }));
  const transcription = Transcription.safeParse(body);
  return transcription.success ? [{ text: transcription.data.text }] : null;
}

/** Little-endian 32-bit floats. Numbers in JSON were such floats before, so that nothing is lost on the way back. */
function base64Of(vector: string | readonly number[]): string {
  if (typeof vector === 'string') return vector;
  const bytes = Buffer.alloc(vector.length * 4);
  vector.forEach((number, index) => {
    bytes.writeFloatLE(number, index * 4);
  });
  return bytes.toString('base64');
}

type Gathered = { text: string; toolCalls: { id: string; name: string; arguments: string }[] };

function answersOfStream(content: string): HashedAnswer[] | null {
  const answers: Gathered[] = [];
  for (const line of content.split(/\r?\n/)) {
    if (!line.startsWith('data:')) continue;
    const chunk = chunkOf(line.slice('data:'.length));
    for (const { index, text, delta } of chunk?.choices ?? []) {
      while (answers.length <= index) answers.push({ text: '', toolCalls: [] });
      const answer = answers[index] as Gathered;
      answer.text += text ?? delta?.content ?? '';
      for (const part of delta?.tool_calls ?? []) {
        while (answer.toolCalls.length <= part.index) answer.toolCalls.push({ id: '', name: '', arguments: '' });
        const call = answer.toolCalls[part.index] as Gathered['toolCalls'][number];
        call.id += part.id ?? '';
        call.name += part.function?.name ?? '';
        call.arguments += part.function?.arguments ?? '';
      }
    }
  }
  return answers.length === 0 ? null : answers;
}

/** `null` for an event that is no chunk: the brand's own events, and the last word of the stream. */
function chunkOf(text: string): z.infer<typeof Chunk> | null {
  try {
    const chunk = Chunk.safeParse(JSON.parse(text));
    return chunk.success ? chunk.data : null;
  } catch {
    return null;
  }
}
