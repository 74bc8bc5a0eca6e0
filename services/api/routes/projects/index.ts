/** Sign-up: a project, its first key and its starter credit in one call. */
import { accountIdOf, formatAmount } from '../../../../events/contract/index.js';
import type { Clock } from '../../../../platform/clock.js';
import type { IdSource } from '../../../../platform/id-source.js';
import type { Preset } from '../../../../presets/preset-schema.js';
import type { LedgerClient } from '../../../ledger/ledger-client.js';
import { projectOpening } from '../../directory/account-openings.js';
import { apiKeyHint, makeApiKeySecret } from '../../directory/api-key-secret.js';
import type { Directory, Project } from '../../directory/directory.js';
import { creditsField, isoTime } from '../../presentation/amounts.js';
import type { LastRevisions } from '../../read-model/last-revisions.js';
import { refuse } from '../../refusals.js';
import { defineRoute, type RouteDefinition } from '../../route.js';
import { apiKeyObject } from '../keys/api-key-object.js';
import { CreatedProject, CreateProjectRequest } from './schemas.js';
import { distinctSlugOf, slugOf } from './slug.js';

export type ProjectsDeps = {
  readonly directory: Pick<Directory, 'createProject' | 'createKey'>;
  readonly ledger: Pick<LedgerClient, 'openAccount'>;
  readonly lastRevisions: LastRevisions;
  readonly preset: Pick<Preset, 'unit' | 'starter_credit' | 'api_keys' | 'policies'>;
  readonly clock: Clock;
  readonly ids: IdSource;
};

/** Name of the key that a project is born with. */
const FIRST_KEY_NAME = 'First key';

export function projectsRoutes(deps: ProjectsDeps): RouteDefinition[] {
  return [
    defineRoute({
      method: 'post',
      path: '/v1/projects',
      operationId: 'createProject',
      summary: 'Create a project and get its API key and starter credit',
      tag: 'Projects',
      policy: deps.preset.policies.sign_up === 'open' ? 'public' : 'admin',
      body: CreateProjectRequest,
      responses: {
        201: { description: 'The project, with its key shown this once', schema: CreatedProject },
        409: { description: 'The slug is taken' },
      },
      handle: async (_context, { body }) => {
        const project = await createProject(deps, body);
        const { key, secret } = await createFirstKey(deps, project);
        const balance = await openAccount(deps, project);
        return {
          status: 201,
          body: {
            object: 'project',
            id: project.projectId,
            name: project.name,
            slug: project.slug,
            environment: project.environment,
            created_at: isoTime(project.createdAtMs),
            api_key: secret,
            key: apiKeyObject(key, deps.preset, deps.clock.nowMs()),
            unit: balance.unit,
            starter_credit: formatAmount(deps.preset.starter_credit.project),
            balance: formatAmount(balance.availableNanos),
            ...creditsField('credits_balance', balance.availableNanos, balance.unit),
          },
        };
      },
    }),
  ];
}

type Request = { readonly name: string; readonly slug?: string | undefined; readonly environment: 'live' | 'test' };

async function createProject(deps: ProjectsDeps, request: Request): Promise<Project> {
  const base = {
    projectId: deps.ids.next('prj'),
    name: request.name,
    environment: request.environment,
    createdAtMs: deps.clock.nowMs(),
  };
  const created = await deps.directory.createProject({ ...base, slug: request.slug ?? slugOf(request.name) });
  if (created !== null) return created;
  if (request.slug !== undefined) throw refuse('conflict', { message: 'This slug is taken.', param: 'slug' });
  const distinct = await deps.directory.createProject({ ...base, slug: distinctSlugOf(request.name, base.projectId) });
  if (distinct === null) throw new Error('a slug that ends in the random part of a new id is not taken');
  return distinct;
}

async function createFirstKey(deps: ProjectsDeps, project: Project) {
  const prefix = project.environment === 'live' ? deps.preset.api_keys.live_prefix : deps.preset.api_keys.test_prefix;
  const secret = makeApiKeySecret(prefix);
  const key = await deps.directory.createKey(
    {
      keyId: deps.ids.next('key'),
      projectId: project.projectId,
      name: FIRST_KEY_NAME,
      environment: project.environment,
      hint: apiKeyHint(secret, prefix),
      createdAtMs: project.createdAtMs,
    },
    secret,
    deps.preset.api_keys.active_max,
  );
  if (key === null) throw new Error('a new project has no keys yet');
  return { key, secret };
}

/** Opening rides along with every later command too: an account that is missing after a failure here is opened by its first use. */
async function openAccount(deps: ProjectsDeps, project: Project) {
  const accountId = accountIdOf(project.projectId);
  const balance = await deps.ledger.openAccount({ accountId, opening: projectOpening(project, deps.preset) });
  deps.lastRevisions.note(accountId, balance.revision, project.projectId);
  return balance;
}
