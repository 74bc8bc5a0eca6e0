/** What a client can get wrong with a chat completion and around it, a line a case, each with the refusal that it deserves. */
import { HELLO } from '../support/farebox-client.js';
import type { Call } from '../support/http-client.js';
import type { BadInput } from './bad-input.js';

export const CHAT = '/v1/chat/completions';
const MEBIBYTE = 1_048_576;
/** Longer than any context on offer, within the size of a body. */
const LONG_PROMPT = 'word '.repeat(180_000);

const json = (text: string | Buffer): Call => ({ raw: text, headers: [['Content-Type', 'application/json']] });
const headers = (...list: [string, string][]): Call => ({ headers: list });
const email = (...values: string[]): Call => headers(...values.map((value): [string, string] => ['X-Consumer-Email', value]));
const nested = (levels: number) => `{"model":"m","messages":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`;
const invalid = (name: string, body: Readonly<Record<string, unknown>>, names: string): BadInput => ({
  name,
  body,
  status: 400,
  code: 'invalid_request',
  names,
});
const unsupported = (name: string, value: unknown, names = name): BadInput => ({
  name: `unsupported: ${name}`,
  body: { [name]: value },
  status: 400,
  code: 'unsupported_parameter',
  names,
});

/** A bomb for whoever compiles it. */
const NESTED_GROUPS = `${'('.repeat(60_000)}${')'.repeat(60_000)}`;
const tool = (name: string, parameters?: unknown) => ({ type: 'function', function: { name, parameters } });
const patternOf = (pattern: string) => ({ type: 'object', properties: { x: { type: 'string', pattern } } });
const manyWords = (count: number) => Array.from({ length: count }, (_, index) => `word${index}`);
const schemaFormat = (schema: unknown) => ({ type: 'json_schema', json_schema: { name: 'x', schema } });

const completion = (name: string, body: Readonly<Record<string, unknown>>, code: string, names: string): BadInput => ({
  name: `completions: ${name}`,
  path: '/v1/completions',
  body,
  status: 400,
  code,
  names,
});

export const BAD_INPUTS: readonly BadInput[] = [
  { name: 'no JSON', call: json('{'), status: 400, code: 'malformed_json' },
  { name: 'JSON cut in the middle', call: json('{"model":"m","messages":[{"role":"us'), status: 400, code: 'malformed_json' },
  { name: 'two values', call: json('{} {}'), status: 400, code: 'malformed_json' },
  { name: 'not UTF-8', call: json(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])), status: 400, code: 'malformed_json' },
  { name: 'nothing at all', call: json(''), status: 400, code: 'invalid_request' },
  { name: 'null', call: json('null'), status: 400, code: 'invalid_request' },
  { name: 'an array', call: json('[]'), status: 400, code: 'invalid_request' },
  { name: '33 levels', call: json(nested(33)), status: 400, code: 'malformed_json', names: '32' },
  { name: '32 levels are read, and then not what is wanted', call: json(nested(32)), status: 400, code: 'invalid_request' },
  { name: '100,000 levels', call: json('['.repeat(100_000)), status: 400, code: 'malformed_json' },
  { name: 'a body of more than a mebibyte', call: json('x'.repeat(MEBIBYTE + 1)), status: 413, code: 'body_too_large' },
  {
    name: 'another media type',
    call: { raw: 'model=m', headers: [['Content-Type', 'application/x-www-form-urlencoded']] },
    status: 415,
    code: 'unsupported_media_type',
  },
  {
    name: 'a compressed body',
    call: {
      raw: '{}',
      headers: [
        ['Content-Type', 'application/json'],
        ['Content-Encoding', 'gzip'],
      ],
    },
    status: 415,
    code: 'unsupported_media_type',
  },

  invalid('no model', { model: undefined }, 'model'),
  invalid('a number as model', { model: 5 }, 'model'),
  invalid('an empty model', { model: '' }, 'model'),
  { name: 'an unknown model', body: { model: 'gpt-99-ultra' }, status: 404, code: 'model_not_found', names: 'gpt-99-ultra' },
  { name: 'a model named like a property of objects', body: { model: '__proto__' }, status: 404, code: 'model_not_found' },
  invalid('no messages', { messages: undefined }, 'messages'),
  invalid('an empty list of messages', { messages: [] }, 'messages'),
  invalid('text as messages', { messages: 'Hello' }, 'messages'),
  invalid('a message that is none', { messages: ['Hello'] }, 'messages[0]'),
  invalid('an unknown role', { messages: [{ role: 'wizard', content: 'x' }] }, 'role'),
  invalid('a message without content', { messages: [{ role: 'user' }] }, 'content'),
  invalid('a number as content', { messages: [{ role: 'user', content: 7 }] }, 'content'),
  invalid('more messages than there may be', { messages: Array.from({ length: 2_049 }, () => HELLO[0]) }, 'messages'),
  invalid('temperature below 0', { temperature: -0.1 }, 'temperature'),
  invalid('temperature above 2', { temperature: 2.1 }, 'temperature'),
  invalid('temperature as text', { temperature: '1' }, 'temperature'),
  invalid('top_p above 1', { top_p: 1.5 }, 'top_p'),
  invalid('max_tokens 0', { max_tokens: 0 }, 'max_tokens'),
  invalid('max_tokens below 0', { max_tokens: -1 }, 'max_tokens'),
  invalid('half a token', { max_tokens: 1.5 }, 'max_tokens'),
  invalid('an unsafe integer', { max_tokens: 2 ** 60 }, 'max_tokens'),
  invalid('frequency_penalty above 2', { frequency_penalty: 3 }, 'frequency_penalty'),
  invalid('a seed that is none', { seed: 'lucky' }, 'seed'),
  invalid('stream as text', { stream: 'yes' }, 'stream'),
  invalid('five stop sequences', { stop: ['a', 'b', 'c', 'd', 'e'] }, 'stop'),
  invalid('an empty stop sequence', { stop: '' }, 'stop'),
  invalid('nine answers', { n: 9 }, 'n'),
  invalid('top_logprobs without logprobs', { top_logprobs: 3 }, 'top_logprobs'),
  invalid('a bias for what is no token', { logit_bias: { hello: 1 } }, 'logit_bias'),
  invalid('a tool_choice without tools', { tool_choice: 'required' }, 'tool_choice'),
  invalid('a tool name with a control character', { tools: [tool('a\u0007b')] }, 'tools[0].function.name'),
  invalid('a tool name with a line break', { tools: [tool('f\n')] }, 'tools[0].function.name'),
  invalid('an empty tool name', { tools: [tool('')] }, 'tools[0].function.name'),
  invalid('a tool name of 65 characters', { tools: [tool('f'.repeat(65))] }, 'tools[0].function.name'),
  invalid('a tool_choice with a control character', { tools: [tool('f')], tool_choice: tool('f\u0000') }, 'tool_choice'),
  invalid('more tools than there may be', { tools: Array.from({ length: 129 }, (_, index) => tool(`f${index}`)) }, 'tools'),
  invalid('two tools of one name', { tools: [tool('f'), tool('f')] }, 'f'),
  invalid('a tool_choice of an unknown tool', { tools: [tool('f')], tool_choice: tool('g') }, 'tool_choice'),
  invalid('parameters nobody can be held to', { tools: [tool('f', { type: 'object', not: {} })] }, 'tools[0].function.parameters'),
  invalid('a result of no call', { messages: [{ role: 'tool', content: 'x', tool_call_id: 'c' }] }, 'tool_call_id'),
  invalid('a schema of 60,000 nested groups', { response_format: schemaFormat({ type: 'string', pattern: NESTED_GROUPS }) }, 'schema'),
  invalid('a schema of 10,000 alternatives', { response_format: schemaFormat({ enum: manyWords(10_000) }) }, 'schema'),
  invalid('a schema that refers to itself at once', { response_format: schemaFormat({ $ref: '#' }) }, 'schema'),
  invalid('a schema that refers to another machine', { response_format: schemaFormat({ $ref: 'http://169.254.169.254/' }) }, 'schema'),
  invalid('parameters of 60,000 nested groups', { tools: [tool('f', patternOf(NESTED_GROUPS))] }, 'tools[0].function.parameters'),
  invalid('parameters of 60,000 nested groups, in order', { tools: [tool('f', patternOf('(a)'.repeat(60_000)))] }, 'parameters'),
  invalid('a schema without one', { response_format: { type: 'json_schema', json_schema: { name: 'x' } } }, 'schema'),
  unsupported('functions', [{ name: 'f' }]),
  unsupported('tools', [{ type: 'web_search' }], 'web_search'),
  unsupported('audio', { voice: 'x' }),
  unsupported('modalities', ['audio']),
  unsupported('response_format', { type: 'xml' }),
  unsupported('messages', [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'http://169.254.169.254/' } }] }], 'image_url'),
  unsupported(
    'messages',
    [{ role: 'user', content: [{ type: 'input_audio', input_audio: { data: '!!no base64!!', format: 'wav' } }] }],
    'input_audio',
  ),
  unsupported('messages', [{ role: 'user', content: [{ type: 'file', file: { file_data: 'data:;base64,@@@' } }] }], 'file'),
  unsupported('messages', [{ role: 'function', name: 'f', content: 'x' }], 'tool_calls'),
  completion('no prompt', {}, 'invalid_request', 'prompt'),
  completion('an empty prompt', { prompt: '' }, 'invalid_request', 'prompt'),
  completion('texts and tokens', { prompt: ['x', [1]] }, 'invalid_request', 'prompt[1]'),
  completion('33 prompts', { prompt: Array.from({ length: 33 }, () => 'x') }, 'invalid_request', 'prompt'),
  completion('half a token', { prompt: [1.5] }, 'invalid_request', 'prompt[0]'),
  completion('a token below 0', { prompt: [-1] }, 'invalid_request', 'prompt[0]'),
  completion('a token beyond any vocabulary', { prompt: [[2 ** 53]] }, 'invalid_request', 'prompt[0]'),
  completion('no tokens', { prompt: [[1], []] }, 'invalid_request', 'prompt[1]'),
  completion('an object as prompt', { prompt: { text: 'x' } }, 'invalid_request', 'prompt'),
  completion('n of nine', { prompt: 'x', n: 9 }, 'invalid_request', 'n'),
  completion('21 logprobs', { prompt: 'x', logprobs: 21 }, 'invalid_request', 'logprobs'),
  completion('echo', { prompt: 'x', echo: true }, 'unsupported_parameter', 'echo'),
  completion('suffix', { prompt: 'x', suffix: 'y' }, 'unsupported_parameter', 'suffix'),
  completion('best_of', { prompt: 'x', best_of: 3 }, 'unsupported_parameter', 'best_of'),
  {
    name: 'a prompt longer than the context',
    body: { messages: [{ role: 'user', content: LONG_PROMPT }] },
    status: 400,
    code: 'context_length_exceeded',
  },

  { name: 'an e-mail without @', call: email('jane.example.com'), status: 400, code: 'invalid_request', names: 'X-Consumer-Email' },
  { name: 'an empty e-mail', call: email(''), status: 400, code: 'invalid_request', names: 'X-Consumer-Email' },
  { name: 'two @', call: email('a@b@c'), status: 400, code: 'invalid_request', names: 'X-Consumer-Email' },
  {
    name: 'the header twice',
    call: email('a@example.com', 'b@example.com'),
    status: 400,
    code: 'invalid_request',
    names: 'X-Consumer-Email',
  },
  {
    name: 'two e-mails in one header',
    call: email('a@example.com, b@example.com'),
    status: 400,
    code: 'invalid_request',
    names: 'X-Consumer-Email',
  },
  {
    name: 'an e-mail of 255 characters',
    call: email(`${'a'.repeat(243)}@example.com`),
    status: 400,
    code: 'invalid_request',
    names: '254',
  },
  { name: 'a control character (C1) in an e-mail', call: email('a\u0085b@example.com'), status: 400, code: 'invalid_request' },
  { name: 'SQL in an e-mail', call: email("x'; drop table api.keys; --@example.com"), status: 400, code: 'invalid_request' },
  {
    name: 'a name with a control character',
    call: headers(['X-Consumer-Email', 'a@example.com'], ['X-Consumer-Name', 'J\u0085ane']),
    status: 400,
    code: 'invalid_request',
    names: 'X-Consumer-Name',
  },
  {
    name: 'a name of 201 characters',
    call: headers(['X-Consumer-Email', 'a@example.com'], ['X-Consumer-Name', 'J'.repeat(201)]),
    status: 400,
    code: 'invalid_request',
    names: 'X-Consumer-Name',
  },
  {
    name: 'an idempotency key with a blank',
    call: headers(['Idempotency-Key', 'a b']),
    status: 400,
    code: 'invalid_request',
    names: 'Idempotency-Key',
  },
  {
    name: 'an idempotency key of 256 characters',
    call: headers(['Idempotency-Key', 'k'.repeat(256)]),
    status: 400,
    code: 'invalid_request',
    names: 'Idempotency-Key',
  },
  {
    name: 'two idempotency keys',
    call: headers(['Idempotency-Key', 'a'], ['Idempotency-Key', 'b']),
    status: 400,
    code: 'invalid_request',
    names: 'Idempotency-Key',
  },

  { name: 'no such endpoint', path: '/v1/chat/completion', status: 404, code: 'endpoint_not_found' },
  { name: 'another method', call: { method: 'DELETE' }, status: 405, code: 'method_not_allowed' },
  {
    name: 'a time zone that is none',
    path: '/v1/usage?timezone=Mars/Olympus',
    call: { method: 'GET' },
    status: 400,
    code: 'invalid_request',
    names: 'timezone',
  },
  {
    name: 'a range that ends before it begins',
    path: '/v1/usage?from=2026-02-02&to=2026-01-01',
    call: { method: 'GET' },
    status: 400,
    code: 'invalid_request',
    names: 'from',
  },
  {
    name: 'a page of minus one',
    path: '/v1/consumers?limit=-1',
    call: { method: 'GET' },
    status: 400,
    code: 'invalid_request',
    names: 'limit',
  },
  {
    name: 'a key of the other environment',
    path: '/v1/keys',
    call: { json: { name: 'x', environment: 'test' } },
    status: 400,
    code: 'invalid_request',
    names: 'test project',
  },
  { name: 'a project without a name', path: '/v1/projects', call: { json: {} }, status: 400, code: 'invalid_request', names: 'name' },
  {
    name: 'a slug with a slash',
    path: '/v1/projects',
    call: { json: { name: 'x', slug: '../etc' } },
    status: 400,
    code: 'invalid_request',
    names: 'slug',
  },
];
