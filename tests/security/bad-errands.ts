/** What a client can get wrong around its runs: models, records, keys, plans, pools, credentials, and parts of OpenAI's API that are not served. */
import { type BadInput, badJson, badQuery, type Offer, unknown } from './bad-input.js';

const NOBODY = '0'.repeat(26);
const KEY_OF_NOBODY = `/v1/keys/key_${NOBODY}`;

const UNSERVED = [
  ['POST', '/v1/responses'],
  ['POST', '/v1/images/generations'],
  ['POST', '/v1/audio/speech'],
  ['POST', '/v1/moderations'],
  ['POST', '/v1/batches'],
  ['GET', '/v1/files'],
  ['GET', '/v1/fine_tuning/jobs'],
  ['POST', '/v1/assistants'],
  ['GET', '/v1/realtime'],
] as const;

export function badErrands({ model, brand, embeddingModel, transcriptionModel }: Offer): readonly BadInput[] {
  return [
    badQuery('model info: of nothing', '/v1/model/info', 'model'),
    badQuery('model info: of an empty id', '/v1/model/info?model=', 'model'),
    badQuery('model info: of two', `/v1/model/info?model=${model}&model=${model}`, 'model'),
    badQuery('model info: a variant that there is not', `/v1/model/info?model=${model}&quantization=int3`, 'quantization'),
    { ...unknown('model info: an unknown model', '/v1/model/info?model=gpt-99-ultra'), code: 'model_not_found', names: 'gpt-99-ultra' },
    { ...unknown('a model named like a property of objects', '/v1/models/__proto__'), code: 'model_not_found' },

    ...['', '/explain', '/verification'].flatMap((end) => [
      unknown(`requests${end}: an unknown id`, `/v1/requests/req_${NOBODY}${end}`),
      unknown(`requests${end}: what is no id`, `/v1/requests/%F0%9F%98%80${end}`),
    ]),
    unknown('consumers: an unknown id', `/v1/consumers/con_${NOBODY}`),

    badJson('keys: a role that there is not', '/v1/keys', { role: 'root' }, 'role'),
    badJson('keys: an unknown parameter', '/v1/keys', { scopes: ['*'] }, 'scopes'),
    badJson('keys: a name with a control character', '/v1/keys', { name: 'a\u0007b' }, 'name'),
    badJson('keys: a grace below 0', `${KEY_OF_NOBODY}/rotate`, { grace_seconds: -1 }, 'grace_seconds'),
    badJson('keys: a grace of a century', `${KEY_OF_NOBODY}/rotate`, { grace_seconds: 3_153_600_000 }, 'grace_seconds'),
    unknown('keys: rotating an unknown one', `${KEY_OF_NOBODY}/rotate`, { json: {} }),
    unknown('keys: revoking an unknown one', `${KEY_OF_NOBODY}/revoke`, { method: 'POST' }),
    unknown('keys: deleting what is no id', '/v1/keys/..%2F', { method: 'DELETE' }),

    { ...badJson('plans: one that does not exist', `/v1/admin/projects/prj_${NOBODY}/plan`, { plan: 'gratis' }, 'plan'), as: 'admin' },
    { ...unknown('plans: of an unknown project', `/v1/admin/projects/prj_${NOBODY}/plan`, { json: { plan: null } }), as: 'admin' },
    {
      ...badJson('grants: of nothing', '/v1/admin/grants', { project_id: `prj_${NOBODY}`, amount: 'NaN', reason: 'x' }, 'amount'),
      as: 'admin',
    },
    {
      ...unknown('grants: to nobody', '/v1/admin/grants', { json: { project_id: `prj_${NOBODY}`, amount: '1', reason: 'x' } }),
      as: 'admin',
    },

    pool('that does not exist', brand, ['Pool', 'mars']),
    pool('of 10,000 characters', brand, ['Pool', 'm'.repeat(10_000)]),
    pool('of control characters', brand, ['Pool', '\u0085']),
    pool('with a fallback that there is not', brand, ['Pool-Fallback', 'maybe']),
    {
      name: 'a variant that does not exist',
      body: { quantization: 'int3' },
      status: 400,
      code: 'invalid_request',
      names: 'quantization',
    },

    credentials('no key', undefined, 'missing_api_key'),
    credentials('another scheme', 'Basic cGF5OmxhdGVy', 'invalid_api_key'),
    credentials('base64 that is not', 'Basic !!%%', 'invalid_api_key'),
    credentials('a key of control characters', 'Bearer \u0085\u0085', 'invalid_api_key'),
    credentials('a key of 7,000 characters', `Bearer ${'k'.repeat(7_000)}`, 'invalid_api_key'),

    ...UNSERVED.map(([method, path]) => unserved(method, path)),
    ...(embeddingModel === null ? [unserved('POST', '/v1/embeddings')] : []),
    ...(transcriptionModel === null ? [unserved('POST', '/v1/audio/transcriptions')] : []),
  ];
}

function pool(name: string, brand: string, [header, value]: readonly [string, string]): BadInput {
  return {
    name: `a pool ${name}`,
    call: { headers: [[`X-${brand}-${header}`, value]] },
    status: 400,
    code: 'invalid_request',
    // Only dialects with a `param` repeat the header's name where the pool is named.
    names: header === 'Pool' ? 'pool' : `X-${brand}-${header}`,
  };
}

function credentials(name: string, authorization: string | undefined, code: string): BadInput {
  return {
    name: `credentials: ${name}`,
    as: 'nobody',
    call: authorization === undefined ? {} : { headers: [['Authorization', authorization]] },
    status: 401,
    code,
  };
}

function unserved(method: 'GET' | 'POST', path: string): BadInput {
  return {
    name: `not served: ${path}`,
    path,
    call: method === 'GET' ? { method } : { json: {} },
    status: 404,
    code: 'endpoint_not_served',
    names: 'not served',
  };
}
