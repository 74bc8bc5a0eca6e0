/** Answers a request that was answered before under its idempotency key: the same ids, the same text, the same charge, and marked as a replay. */
import type { RouteContext, RouteReply } from '../route.js';
import type { AnswerShape, RunAsk } from './billed-run.js';
import { partOfAnswer } from './gathered-output.js';
import { replayedBody } from './run-metadata.js';
import { JSON_TYPE, sendPlain, streamOf, writeStreamHead } from './send-answer.js';
import { runFromText } from './stored-run.js';

const SENT: RouteReply = { sent: true };

/** `stored` is what was kept of the answer. */
export function answerReplay(context: RouteContext<'project_key'>, ask: RunAsk, shape: AnswerShape, stored: string): RouteReply {
  const { response } = context;
  const head = context.head();
  head.push('Idempotent-Replayed', 'true');
  if (!ask.stream) {
    sendPlain(response, shape.contentType === JSON_TYPE ? replayedBody(stored) : stored, shape.contentType, head);
    return SENT;
  }
  const run = runFromText(stored);
  const events = streamOf(shape, run);
  writeStreamHead(response, head);
  // An answer that says nothing has no events but its end, as it had before.
  const parts = run.answers.map((answer, index) => events.part(partOfAnswer(answer, index)));
  response.end(events.opening() + parts.join('') + events.closing(run, true));
  return SENT;
}
