/** The contents page: every route of the API. */
import { docsPageRoutes } from '../docs-page/index.js';
import { openApiRoutes } from '../openapi/index.js';
import type { RouteDefinition } from '../route.js';
import { type AdminGrantsDeps, adminGrantsRoutes } from './admin-grants/index.js';
import { type AdminTrialBalanceDeps, adminTrialBalanceRoutes } from './admin-trial-balance/index.js';
import { type BalanceDeps, balanceRoutes } from './balance/index.js';
import type { AnswerDeps } from './chat-completions/answer-run.js';
import { chatCompletionsRoutes } from './chat-completions/index.js';
import { type ConsumersDeps, consumersRoutes } from './consumers/index.js';
import { type HealthDeps, healthRoutes } from './health/index.js';
import { type KeysDeps, keysRoutes } from './keys/index.js';
import { type ModelsDeps, modelsRoutes } from './models/index.js';
import { type ProjectsDeps, projectsRoutes } from './projects/index.js';
import { type RequestsDeps, requestsRoutes } from './requests/index.js';
import { type TopUpDeps, topUpRoutes } from './top-up/index.js';
import { type UsageDeps, usageRoutes } from './usage/index.js';

export type RouteDeps = AdminGrantsDeps &
  AdminTrialBalanceDeps &
  AnswerDeps &
  BalanceDeps &
  ConsumersDeps &
  HealthDeps &
  KeysDeps &
  ModelsDeps &
  ProjectsDeps &
  RequestsDeps &
  TopUpDeps &
  UsageDeps;

export function allRoutes(deps: RouteDeps): RouteDefinition[] {
  const routes: RouteDefinition[] = [
    ...chatCompletionsRoutes(deps),
    ...modelsRoutes(deps),
    ...projectsRoutes(deps),
    ...keysRoutes(deps),
    ...balanceRoutes(deps),
    ...usageRoutes(deps),
    ...requestsRoutes(deps),
    ...consumersRoutes(deps),
    ...topUpRoutes(deps),
    ...adminGrantsRoutes(deps),
    ...adminTrialBalanceRoutes(deps),
    ...healthRoutes(deps),
    ...docsPageRoutes(deps),
    ...openApiRoutes(deps, () => routes),
  ];
  return routes;
}
