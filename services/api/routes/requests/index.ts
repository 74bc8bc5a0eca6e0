/** The record of a request, why it cost what it did, and the proof of both. */
import { withPrefix } from '../../../../events/contract/index.js';
import type { Clock } from '../../../../platform/clock.js';
import type { Preset } from '../../../../presets/preset-schema.js';
import { isId } from '../../presentation/fields.js';
import type { LastRevisions } from '../../read-model/last-revisions.js';
import type { ReadModel, RequestRecord } from '../../read-model/read-model.js';
import { catchUpWithProject } from '../../read-model/read-your-writes.js';
import { refuse } from '../../refusals.js';
import { type Caller, defineRoute, type RouteDefinition } from '../../route.js';
import type { Verification } from '../../verification/verification.js';
import { keyBody, verificationObject } from '../../verification/verification-object.js';
import { explanationObject, requestObject } from './request-object.js';
import { ExplanationObject, RequestObject, RequestParams, VerificationKeys, VerificationObject } from './schemas.js';

export type RequestsDeps = {
  readonly readModel: Pick<ReadModel, 'request' | 'waitForRevisions'>;
  readonly lastRevisions: LastRevisions;
  readonly verification: Verification;
  readonly preset: Pick<Preset, 'brand'>;
  readonly clock: Clock;
};

export function requestsRoutes(deps: RequestsDeps): RouteDefinition[] {
  return [
    defineRoute({
      method: 'get',
      path: '/v1/requests/:id',
      operationId: 'getRequest',
      summary: 'The record of a request: status, usage, errors, charge',
      tag: 'Requests',
      policy: 'project_key',
      params: RequestParams,
      responses: { 200: { description: 'The record', schema: RequestObject }, 404: { description: 'No such request in this project' } },
      handle: async ({ caller }, { params }) => {
        const { record, headers } = await readRecord(deps, caller, params.id);
        return { status: 200, headers, body: requestObject(record) };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/requests/:id/explain',
      operationId: 'explainRequest',
      summary: 'Why the request cost what it did: hold, terms, tokens, rounding, charge, refund, each with its event',
      tag: 'Requests',
      policy: 'project_key',
      params: RequestParams,
      responses: {
        200: { description: 'The explanation', schema: ExplanationObject },
        404: { description: 'No such request in this project' },
      },
      handle: async ({ caller }, { params }) => {
        const { record, headers } = await readRecord(deps, caller, params.id);
        return { status: 200, headers, body: explanationObject(record) };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/requests/:id/verification',
      operationId: 'verifyRequest',
      summary: 'A signed receipt of what the request was, what it cost, and where that stands in the books',
      tag: 'Requests',
      policy: 'project_key',
      params: RequestParams,
      responses: {
        200: { description: 'The receipt, checked', schema: VerificationObject },
        404: { description: 'No such request in this project' },
        409: { description: 'The request has not ended yet' },
      },
      handle: async ({ caller }, { params }) => {
        const { record, headers } = await readRecord(deps, caller, params.id);
        if (record.status === 'reserved') {
          throw refuse('request_in_progress', { message: 'The request is still running. Its receipt is made when it has been settled.' });
        }
        const report = await deps.verification.report(record);
        return { status: 200, headers, body: verificationObject(report, deps.preset.brand.provider, deps.clock.nowMs()) };
      },
    }),
    defineRoute({
      method: 'get',
      path: '/v1/verification/keys',
      operationId: 'listVerificationKeys',
      summary: 'The public keys that receipts are signed with, the one in use first',
      tag: 'Requests',
      policy: 'public',
      responses: { 200: { description: 'The keys; none where receipts are not signed', schema: VerificationKeys } },
      handle: async () => ({ status: 200, body: { object: 'list', data: deps.verification.keys.map(keyBody) } }),
    }),
  ];
}

type FoundRecord = { readonly record: RequestRecord; readonly headers: Readonly<Record<string, string>> };

async function readRecord(deps: RequestsDeps, caller: Caller, id: string): Promise<FoundRecord> {
  const runId = runIdIn(id);
  if (runId === null) throw notFound();
  const headers = await catchUpWithProject(deps, caller.projectId);
  const record = await deps.readModel.request(caller.projectId, runId);
  if (record === null) throw notFound();
  return { record, headers };
}

/** A run, its request and its completion share one ULID. `null` for what is none of their ids. */
function runIdIn(id: string): string | null {
  if (isId(id, 'req_') || isId(id, 'run_')) return withPrefix(id, 'run_');
  if (isId(id, 'chatcmpl-')) return `run_${id.slice('chatcmpl-'.length)}`;
  return null;
}

/** The same words for an id that does not exist and for another project's. */
function notFound() {
  return refuse('resource_not_found', { message: 'There is no such request.' });
}
