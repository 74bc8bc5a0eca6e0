/** Child process with the yardstick: an Express 5 route that parses the same body and answers with the same shape, and does nothing else. */
import type { AddressInfo } from 'node:net';
import express from 'express';

const app = express();
app.use(express.json());
app.post('/v1/chat/completions', (request, response) => {
  const { model, messages, stream } = request.body as { model: string; messages: { content: string }[]; stream?: boolean };
  const content = messages.at(-1)?.content ?? '';
  const chunk = { id: 'chatcmpl-01j0000000000000000000000', object: 'chat.completion.chunk', created: 1_790_000_000, model };
  if (stream !== true) {
    response.json({
      ...chunk,
      object: 'chat.completion',
      choices: [{ index: 0, message: { role: 'assistant', content, refusal: null }, logprobs: null, finish_reason: 'stop' }],
      usage: { prompt_tokens: 6, completion_tokens: 2, total_tokens: 8, prompt_tokens_details: { cached_tokens: 0 } },
      system_fingerprint: 'fp_bare',
    });
    return;
  }
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache' });
  const choices = [{ role: 'assistant', content: '' }, { content }, {}];
  for (const delta of choices)
    response.write(`data: ${JSON.stringify({ ...chunk, choices: [{ index: 0, delta, finish_reason: null }] })}\n\n`);
  response.end('data: [DONE]\n\n');
});

const server = app.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.once('disconnect', () => process.exit(0));
