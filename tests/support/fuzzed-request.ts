/** Requests that no sane client sends, mixed with ones that a sane client nearly sends: half-valid input reaches deeper than noise. */
import type { Call } from './http-client.js';
import type { OpenApiRoute } from './openapi-routes.js';
import type { SeededRandom } from './seeded-random.js';

export type FuzzedRequest = { readonly path: string; readonly call: Call };

export type FuzzMaterial = {
  readonly routes: readonly OpenApiRoute[];
  /** Some valid, some not. */
  readonly keys: readonly string[];
  /** Ids of things that exist. */
  readonly ids: readonly string[];
  readonly models: readonly string[];
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
];
const DEPTH_MAX = 6;

export function fuzzedRequest(random: SeededRandom, material: FuzzMaterial): FuzzedRequest {
  const route = random.pick(material.routes);
  const path = fuzzedPath(random, route, material);
  const method = random.chance(0.9) ? route.method : random.pick(METHODS);
  const key = random.chance(0.95) ? { key: random.pick(material.keys) } : {};
  const hasBody = method !== 'GET' && method !== 'HEAD' && (route.hasBody || random.chance(0.2));
  return { path, call: { method, ...key, headers: fuzzedHeaders(random), ...(hasBody ? fuzzedBody(random, route, material) : {}) } };
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

function fuzzedBody(random: SeededRandom, route: OpenApiRoute, material: FuzzMaterial): Pick<Call, 'raw' | 'json'> {
  if (random.chance(0.08)) return { raw: Buffer.from(Array.from({ length: random.below(300) }, () => random.below(256))) };
  const body = route.isBilled ? chatBody(random, material) : { name: `fuzz ${random.below(1_000)}` };
  const mutated: Record<string, unknown> = { ...body };
  while (random.chance(0.6)) mutated[random.pick(CHAT_FIELDS)] = fuzzedValue(random, DEPTH_MAX);
  if (random.chance(0.1)) delete mutated[random.pick(Object.keys(mutated))];
  const text = JSON.stringify(mutated) ?? '';
  if (random.chance(0.05)) return { raw: text.slice(0, random.below(text.length + 1)) };
  if (random.chance(0.02)) return { raw: text.replace(/"/g, "'") };
  return { json: mutated };
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
