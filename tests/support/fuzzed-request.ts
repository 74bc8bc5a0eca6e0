/** Requests that no sane client sends, mixed with ones that a sane client nearly sends: half-valid input reaches deeper than noise. */
import { hostileSchema, hostileTools } from './fuzzed-schema.js';
import { type JsonSchema, valueAfter } from './fuzzed-value.js';
import type { Call } from './http-client.js';
import type { OpenApiRoute } from './openapi-routes.js';
import type { SeededRandom } from './seeded-random.js';
import { waveFile } from './wave-file.js';

export type FuzzedRequest = { readonly operationId: string; readonly path: string; readonly call: Call };

export type FuzzMaterial = {
  readonly routes: readonly OpenApiRoute[];
  /** Some valid, some not. */
  readonly keys: readonly string[];
  /** Ids of things that exist. */
  readonly ids: readonly string[];
  readonly models: readonly string[];
  readonly transcriptionModel: string;
  /** What the routes' bodies refer to. */
  readonly schemas: Readonly<Record<string, JsonSchema>>;
};

const TEXTS = [
  '',
  ' ',
  '\u0000',
  '\ud800',
  '\u202e',
  '😀'.repeat(50),
  'a'.repeat(5_000),
  "' or 1=1 --",
  '"; drop table api.keys; --',
  '../../etc/passwd',
  '%00',
  '%',
  '\u0024{jndi:ldap://x}',
  '<script>alert(1)</script>',
  '__proto__',
  'constructor',
  'null',
  'NaN',
  '-1',
  '1e309',
  '0x10',
  '2026-02-30',
  '9999-12-31T23:59:59Z',
  'Europe/Paris',
  '\r\nSet-Cookie: x=1',
];
const NUMBERS = [0, -0, 1, -1, 0.1, 1e-9, 1e308, -1e308, 2 ** 31, 2 ** 53, 2 ** 53 + 2, 2 ** 64, Number.MAX_VALUE];
const METHODS = ['GET', 'POST', 'DELETE', 'PUT', 'PATCH', 'OPTIONS', 'HEAD'];
const HEADER_NAMES = [
  'X-Consumer-Email',
  'X-Consumer-Name',
  'Idempotency-Key',
  'Content-Type',
  'Accept',
  'X-Forwarded-Proto',
  'X-Forwarded-For',
  'Content-Encoding',
  'If-None-Match',
  'X-Api-Key',
  'X-Farebox-Pool',
  'X-Farebox-Pool-Fallback',
  'X-Farebox-Idempotency-Key',
  'X-Paystack-Signature',
  'Stripe-Signature',
  'Cookie',
];
const CHAT_FIELDS = [
  'model',
  'messages',
  'temperature',
  'top_p',
  'top_k',
  'max_tokens',
  'max_completion_tokens',
  'stop',
  'seed',
  'stream',
  'stream_options',
  'n',
  'tools',
  'tool_choice',
  'response_format',
  'logprobs',
  'top_logprobs',
  'logit_bias',
  'prompt',
  'input',
  'dimensions',
  'encoding_format',
  'user',
  'metadata',
  'name',
  'slug',
  'environment',
  'amount',
  'reason',
  'project_id',
  'consumer_id',
  'kind',
  'grant_id',
  'parallel_tool_calls',
  'quantization',
  'pack_id',
  'success_url',
  'role',
  'grace_seconds',
  'plan',
  'token',
];
const DEPTH_MAX = 6;
const CRLF = Buffer.from('\r\n');

export function fuzzedRequest(random: SeededRandom, material: FuzzMaterial): FuzzedRequest {
  const route = random.pick(material.routes);
  const path = fuzzedPath(random, route, material);
  const method = random.chance(0.9) ? route.method : random.pick(METHODS);
  const key = random.chance(0.95) ? { key: random.pick(material.keys) } : {};
  const hasBody = method !== 'GET' && method !== 'HEAD' && (route.hasBody || random.chance(route.method === 'POST' ? 0.7 : 0.2));
  const { headers: bodyHeaders = [], ...body } = hasBody ? fuzzedBody(random, route, material) : {};
  return { operationId: route.operationId, path, call: { method, ...key, headers: [...bodyHeaders, ...fuzzedHeaders(random)], ...body } };
}

function fuzzedPath(random: SeededRandom, route: OpenApiRoute, { ids }: FuzzMaterial): string {
  const id = () => (random.chance(0.6) ? random.pick(ids) : random.pick(TEXTS));
  let path = route.path.replace(/\{\w+\}/g, () => encoded(id()));
  if (random.chance(0.05)) path = `${path}/${encoded(random.pick(TEXTS))}`;
  if (random.chance(0.05)) path = path.replace('/v1', random.pick(['', '/v2', '//v1', '/v1/', '/V1', '/./v1', '/%76%31']));
  if (random.chance(0.4)) {
    const name = random.pick(['from', 'to', 'timezone', 'group_by', 'limit', 'after', 'project', 'consumer', 'x']);
    const value = random.chance(0.3) ? random.pick(ids) : random.pick([...TEXTS, 'model', 'consumer', '5', '2026-01-01']);
    const text = random.chance(0.9) ? encoded(value) : '%zz%';
    path += `?${name}=${text}${random.chance(0.1) ? `&${name}=${text}` : ''}`;
  }
  // A request line cannot hold blanks; what the HTTP client refuses to send is not the service's to refuse.
  return path.replace(/[^\x21-\x7e]/g, '');
}

/** `encodeURIComponent` throws for half a surrogate pair; a buffer replaces it. */
function encoded(text: string): string {
  return encodeURIComponent(Buffer.from(text).toString());
}

function fuzzedHeaders(random: SeededRandom): [string, string][] {
  const headers: [string, string][] = [];
  if (random.chance(0.3)) headers.push(['X-Consumer-Email', random.pick(['fuzz@example.com', 'a@b', 'é@example.com', 'no-address', ''])]);
  if (random.chance(0.2)) headers.push(['Idempotency-Key', `fuzz-${random.below(40)}`]);
  while (random.chance(0.15)) headers.push([random.pick(HEADER_NAMES), headerText(random.pick(TEXTS))]);
  return headers;
}

/** As much of a text as a header may hold (RFC 9110, section 5.5). */
function headerText(text: string): string {
  return text.replace(/[^\t\x20-\x7e\x80-\xff]/g, '').slice(0, 1_000);
}

function fuzzedBody(random: SeededRandom, route: OpenApiRoute, material: FuzzMaterial): Pick<Call, 'raw' | 'json' | 'headers'> {
  if (random.chance(0.08)) return { raw: noise(random, 300) };
  if (route.body === null) return { raw: formText(random), headers: [['Content-Type', 'application/x-www-form-urlencoded']] };
  const body = random.chance(0.5) || !route.isBilled ? bodyAfterSchema(random, route.body.schema, material) : chatBody(random, material);
  if (route.body.contentType.startsWith('multipart/')) {
    // Of many fields one is wrong nearly always, and nothing would get through.
    const fields = random.chance(0.5) ? body : {};
    return multipartBody(random, { ...fields, model: random.chance(0.8) ? material.transcriptionModel : random.pick(TEXTS) });
  }
  const mutated: Record<string, unknown> = { ...body };
  while (random.chance(0.4)) mutated[random.pick(CHAT_FIELDS)] = fuzzedValue(random, DEPTH_MAX);
  if (random.chance(0.1)) delete mutated[random.pick(Object.keys(mutated))];
  const text = JSON.stringify(mutated) ?? '';
  if (random.chance(0.05)) return { raw: text.slice(0, random.below(text.length + 1)) };
  if (random.chance(0.02)) return { raw: text.replace(/"/g, "'") };
  return { json: mutated };
}

/** As the route's schema says, or nearly. */
function bodyAfterSchema(random: SeededRandom, schema: JsonSchema, material: FuzzMaterial): Record<string, unknown> {
  const textFor = (property: string) => {
    if (property === 'model') return random.pick(material.models);
    if (property.endsWith('_id') && random.chance(0.5)) return random.pick(material.ids);
    return random.chance(0.5) ? `Hello ${random.below(1_000)}` : random.pick(TEXTS);
  };
  const value = valueAfter(schema, { random, components: material.schemas, hostile: () => fuzzedValue(random, DEPTH_MAX), textFor });
  const body = typeof value === 'object' && value !== null ? { ...value } : { value };
  // Schemas of one's own and prompts are any value to the document, and have rules of their own.
  const { properties = {} } = schema.$ref === undefined ? schema : (material.schemas[schema.$ref.split('/').at(-1) ?? ''] ?? {});
  const special: Record<string, () => unknown> = {
    messages: () => chatBody(random, material)['messages'],
    prompt: () => chatBody(random, material)['prompt'],
    input: () => chatBody(random, material)['input'],
    tools: () => hostileTools(random, TEXTS),
    response_format: () => ({
      type: 'json_schema',
      json_schema: { name: 'x', strict: random.chance(0.5), schema: hostileSchema(random, TEXTS) },
    }),
  };
  for (const [name, make] of Object.entries(special)) {
    const isNeeded = name === 'messages' || name === 'prompt' || name === 'input';
    if (name in properties && random.chance(isNeeded ? 0.8 : 0.2)) Object.assign(body, { [name]: make() });
  }
  return body;
}

/** A form of the body's fields and a recording, which is sometimes none. */
function multipartBody(random: SeededRandom, fields: Readonly<Record<string, unknown>>): Pick<Call, 'raw' | 'headers'> {
  const boundary = `fuzz${random.below(1_000)}`;
  const parts: Buffer[] = [];
  const part = (name: string, rest: string, content: string | Buffer) =>
    parts.push(Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="${name}"${rest}\r\n\r\n`), Buffer.from(content), CRLF);
  for (const [name, value] of Object.entries(fields)) {
    if (name !== 'file' || random.chance(0.1)) part(name, '', typeof value === 'string' ? value : (JSON.stringify(value) ?? ''));
  }
  const recording = random.pick([waveFile(0.2), waveFile(0.1), waveFile(0.2).subarray(0, 60), Buffer.alloc(0), noise(random, 3_000)]);
  const fileName = headerText(random.pick(TEXTS)).replace(/["\r\n]/g, '');
  if (random.chance(0.9)) part('file', `; filename="${fileName || 'x.wav'}"\r\nContent-Type: audio/wav`, recording);
  const whole = Buffer.concat([...parts, Buffer.from(`--${boundary}--\r\n`)]);
  const raw = random.chance(0.9) ? whole : whole.subarray(0, random.below(whole.length));
  return { raw, headers: [['Content-Type', `multipart/form-data; boundary=${random.chance(0.95) ? boundary : 'other'}`]] };
}

function formText(random: SeededRandom): string {
  const text = () => encoded(random.pick([...TEXTS, 'usd_5', 'f'.repeat(64)]));
  return `${random.pick(['token', 'pack_id', 'x'])}=${text()}&${random.pick(['token', 'pack_id'])}=${text()}`;
}

function noise(random: SeededRandom, bytesMax: number): Buffer {
  return Buffer.from(Array.from({ length: random.below(bytesMax) }, () => random.below(256)));
}

function chatBody(random: SeededRandom, { models }: FuzzMaterial): Record<string, unknown> {
  const roles = ['system', 'user', 'assistant', 'developer', 'tool'];
  const content = () => (random.chance(0.8) ? `Hello ${random.pick(TEXTS)}` : [{ type: 'text', text: random.pick(TEXTS) }]);
  return {
    model: random.pick(models),
    // Of the other billed routes; chat drops them as unknown.
    prompt: random.chance(0.5) ? random.pick(TEXTS) : [random.pick(TEXTS), `Hello ${random.pick(TEXTS)}`],
    input: random.chance(0.5) ? random.pick(TEXTS) : [[random.below(300), random.below(300)]],
    messages: Array.from({ length: 1 + random.below(3) }, () => ({
      role: random.pick(roles.slice(0, 2 + random.below(4))),
      content: content(),
    })),
    ...(random.chance(0.4) ? { stream: random.chance(0.7) } : {}),
    ...(random.chance(0.4) ? { max_tokens: 1 + random.below(64) } : {}),
  };
}

function fuzzedValue(random: SeededRandom, depth: number): unknown {
  const kind = random.below(depth > 0 ? 7 : 5);
  if (kind === 0) return null;
  if (kind === 1) return random.chance(0.5);
  if (kind === 2) return random.pick(NUMBERS);
  if (kind === 3 || kind === 4) return random.pick(TEXTS);
  const length = random.below(4);
  if (kind === 5) return Array.from({ length }, () => fuzzedValue(random, depth - 1));
  return Object.fromEntries(Array.from({ length }, () => [random.pick([...CHAT_FIELDS, ...TEXTS]), fuzzedValue(random, depth - 1)]));
}
