/**
 * The text by whose SHA-256 (lower-case hex) a receipt names an answer. Its worker hashes what it puts out, and whoever has the answer can do so
 * again: one line of JSON an answer, `["<text>",[["<id>","<name>","<arguments>"],…]]`, answers in order, each line ended by a line feed. Streamed
 * or not, and in whichever pieces it came, an answer has one hash. Of embeddings the text is the vector's base64, of transcriptions the
 * transcript's text.
 */
import type { ToolCall } from './run-messages.js';

export type HashedAnswer = { readonly text: string; readonly toolCalls?: readonly ToolCall[] };

export function textOfAnswers(answers: readonly HashedAnswer[]): string {
  const lines = answers.map(({ text, toolCalls = [] }) => {
    const calls = toolCalls.map((call) => [call.id, call.name, call.arguments]);
    return `${JSON.stringify([text, calls])}\n`;
  });
  return lines.join('');
}
