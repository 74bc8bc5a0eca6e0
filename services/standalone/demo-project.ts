/** The demo project of a first start: a live project with starter credit whose key is printed, so that the first request is one paste away. */

import { accountIdOf } from '../../events/contract/index.js';
import type { Clock } from '../../platform/clock.js';
import type { IdSource } from '../../platform/id-source.js';
import type { Preset } from '../../presets/preset-schema.js';
import { projectOpening } from '../api/directory/account-openings.js';
import { apiKeyHint, makeApiKeySecret } from '../api/directory/api-key-secret.js';
import type { Directory, Project } from '../api/directory/directory.js';
import type { LedgerClient } from '../ledger/ledger-client.js';
import type { DataDirectory } from './data-directory.js';

const DEMO_SLUG = 'demo';
const PROJECT_SECRET = 'demo-project';
const KEY_SECRET = 'demo-key';

export type DemoProjectDeps = {
  readonly directory: Directory;
  readonly ledger: LedgerClient;
  readonly preset: Preset;
  readonly clock: Clock;
  readonly ids: IdSource;
  readonly dataDirectory: DataDirectory;
};

/** The demo project's key, or `null` when the operator's database has one whose key this data directory does not know. */
export async function demoProjectKey(deps: DemoProjectDeps): Promise<string | null> {
  const { directory, ledger, preset, dataDirectory } = deps;
  const project = await findOrCreateDemo(deps);
  if (project === null) return null;
  await ledger.openAccount({ accountId: accountIdOf(project.projectId), opening: projectOpening(project, preset) });
  const known = dataDirectory.readSecret(KEY_SECRET);
  if (known !== null && (await directory.authenticate(known, deps.clock.nowMs())).status === 'active') return known;
  const prefix = preset.api_keys.live_prefix;
  const secret = makeApiKeySecret(prefix);
  const key = await directory.createKey(
    {
      keyId: deps.ids.next('key'),
      projectId: project.projectId,
      name: 'demo',
      environment: project.environment,
      hint: apiKeyHint(secret, prefix),
      createdAtMs: deps.clock.nowMs(),
    },
    secret,
    preset.api_keys.active_max,
  );
  if (key === null) return null;
  dataDirectory.keepSecret(KEY_SECRET, secret);
  return secret;
}

async function findOrCreateDemo({ directory, clock, ids, dataDirectory }: DemoProjectDeps): Promise<Project | null> {
  const knownId = dataDirectory.readSecret(PROJECT_SECRET);
  const known = knownId === null ? null : await directory.project(knownId);
  if (known !== null) return known;
  const created = await directory.createProject({
    projectId: ids.next('prj'),
    name: 'Demo',
    slug: DEMO_SLUG,
    environment: 'live',
    createdAtMs: clock.nowMs(),
  });
  if (created !== null) dataDirectory.keepSecret(PROJECT_SECRET, created.projectId);
  return created;
}
