/**
 * Every promise of the five documents, by its row. A test names the rows that it proves (`row.ts`); `coverage.test.ts` fails for a row without one,
 * and holds docs/conformance.md to this list.
 */
export type PresetName = 'hunt' | 'hoonify-ai' | 'hiveops' | 'hoonify-dev' | 'huru';

export type Row = {
  readonly id: string;
  readonly preset: PresetName;
  readonly promise: string;
  /** Proved there as well, or only there: a file below tests/ or services/ and the beginning of a test's title. */
  readonly also?: readonly { readonly file: string; readonly title: string }[];
};

const rowsOf = (preset: PresetName, rows: readonly Omit<Row, 'preset'>[]): Row[] => rows.map((row) => ({ ...row, preset }));

export const ROWS: readonly Row[] = [
  ...rowsOf('hunt', [
    { id: 'H1', promise: 'POST /v1/chat/completions with model, messages, temperature, max_tokens, stream, top_p' },
    { id: 'H2', promise: 'GET /v1/models' },
    { id: 'H3', promise: 'Sign-up gives $1.00 of credit' },
    {
      id: 'H4',
      promise: 'Five active keys; create, list, revoke; 90 days unused expire; live and test apart',
      also: [{ file: 'services/api/directory/postgres-directory.test.ts', title: 'a key unused for 90 days expires' }],
    },
    { id: 'H5', promise: 'Per-run prices in three tiers, included tokens, overage' },
    {
      id: 'H6',
      promise: 'Retries are never billed; tool calls count within the included tokens',
      also: [
        {
          file: 'services/api/routes/chat-completions/statuses.test.ts',
          title: 'a failed attempt is repeated elsewhere, answered once and charged once',
        },
      ],
    },
    {
      id: 'H7',
      promise: '60 requests in a sliding minute, bursts to 120, 10 at once, per key',
      also: [{ file: 'services/api/limits/testing/limiter-contract.ts', title: 'H7: ten at the same time' }],
    },
    { id: 'H8', promise: 'X-RateLimit-Limit, -Remaining, -Reset on every response' },
    { id: 'H9', promise: 'Errors carry detail; 400, 401, 403, 404, 429, 500, 503' },
    { id: 'H10', promise: 'Interactive API documentation' },
    {
      id: 'H11',
      promise: 'Runs on ARM with quantised weights',
      also: [{ file: 'tests/arm64/run.ts', title: 'runs the inference worker as an ARM64 program' }],
    },
    { id: 'H12', promise: 'OpenAI SDKs for Python and Node work unchanged, streaming too' },
  ]),
  ...rowsOf('hoonify-ai', [
    { id: 'A1', promise: 'Keys begin with hoo_' },
    { id: 'A2', promise: 'frequency_penalty, presence_penalty, stop, user, top_p, temperature, max_tokens' },
    { id: 'A3', promise: 'GET /v1/models with provider, context, description' },
    { id: 'A4', promise: 'A stream ends with finish_reason and then [DONE]' },
    { id: 'A5', promise: 'x-ratelimit headers of requests and tokens, by plan' },
    { id: 'A6', promise: 'error: message, type, code; 400, 401, 403, 422, 429, 500, 503' },
    { id: 'A7', promise: 'The catalogue of ten models' },
    { id: 'A8', promise: 'content as a string or as parts' },
    { id: 'A9', promise: 'Several turns and system prompts' },
  ]),
  ...rowsOf('hiveops', [
    { id: 'V1', promise: 'Every endpoint with and without /v1' },
    { id: 'V2', promise: 'Plain HTTP is refused' },
    { id: 'V3', promise: '60 requests and 150,000 tokens a minute per key; six headers' },
    { id: 'V4', promise: 'response_format, tools, tool_choice; name, role tool, tool_calls' },
    { id: 'V5', promise: 'POST /v1/completions' },
    { id: 'V6', promise: 'GET /v1/models' },
    { id: 'V7', promise: 'GET /v1/model/info' },
    { id: 'V8', promise: 'Input and output prices per million tokens' },
    { id: 'V9', promise: '403 when the balance is too low; error: message, type, code' },
    { id: 'V10', promise: 'JSON mode gives valid JSON' },
    { id: 'V11', promise: 'Function calls validate against their schema' },
  ]),
  ...rowsOf('hoonify-dev', [
    { id: 'D1', promise: 'Chat in full: streaming, tools, structured outputs, stop' },
    { id: 'D2', promise: 'POST /v1/embeddings, float and base64' },
    { id: 'D3', promise: 'Models with family, pools, quantizations, context_window; deprecation' },
    { id: 'D4', promise: 'X-Hoonify-Pool and X-Hoonify-Pool-Fallback' },
    { id: 'D5', promise: 'X-Hoonify-Idempotency-Key dedupes for 5 minutes' },
    { id: 'D6', promise: 'quantization: fp16, fp8, int4; the cheapest by default' },
    { id: 'D7', promise: 'top_k' },
    { id: 'D8', promise: 'pool and a stable system_fingerprint in the response' },
    { id: 'D9', promise: 'What is not served is refused with an error that says so' },
    { id: 'D10', promise: 'Proprietary model ids are not aliased: 404 names the nearest offered' },
  ]),
  ...rowsOf('huru', [
    { id: 'U1', promise: 'The response object with request id, credits, verification, provider' },
    { id: 'U2', promise: 'Keys sk_test_ and sk_live_' },
    {
      id: 'U3',
      promise: 'Up to three attempts over providers',
      also: [
        {
          file: 'services/api/routes/chat-completions/statuses.test.ts',
          title: 'a failed attempt is repeated elsewhere, answered once and charged once',
        },
        {
          file: 'services/inference/upstream/failover-engine.test.ts',
          title: 'the first engine serves while it can, and the result says so',
        },
      ],
    },
    { id: 'U4', promise: 'Credits reserved, settled, refunded; per 1,000 tokens and 500 KB; three packs' },
    { id: 'U5', promise: 'X-Consumer-Email and X-Consumer-Name; 402 with checkout_url' },
    { id: 'U6', promise: 'POST /v1/audio/transcriptions' },
    { id: 'U7', promise: 'GET /v1/consumers, GET /v1/consumers/:id, POST /v1/consumers/:id/checkout' },
    { id: 'U8', promise: 'GET /v1/usage: totals and days' },
    { id: 'U9', promise: 'GET /v1/requests/:id and its verification' },
    { id: 'U10', promise: 'POST /v1/billing/checkout' },
    { id: 'U11', promise: 'POST /v1/projects' },
    { id: 'U12', promise: 'Idempotency-Key: replayed, in progress, tried again' },
    { id: 'U13', promise: 'A stream opens and closes with a metadata event' },
    { id: 'U14', promise: '60 a minute and 1000 a day per project, with headers' },
    { id: 'U15', promise: 'error: type, code, message, checkout_url' },
  ]),
];
