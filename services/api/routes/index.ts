/** The contents page: every route of the API. */
import type { BilledRunDeps } from '../billed-runs/answer-run.js';
import { docsPageRoutes } from '../docs-page/index.js';
import { openApiRoutes } from '../openapi/index.js';
import type { RouteDefinition } from '../route.js';
import { type AdminGrantsDeps, adminGrantsRoutes } from './admin-grants/index.js';
import { type AdminPlansDeps, adminPlansRoutes } from './admin-plans/index.js';
import { type AdminTrialBalanceDeps, adminTrialBalanceRoutes } from './admin-trial-balance/index.js';
import { audioTranscriptionsRoutes, type TranscriptionDeps } from './audio-transcriptions/index.js';
import { type BalanceDeps, balanceRoutes } from './balance/index.js';
import { chatCompletionsRoutes } from './chat-completions/index.js';
import { type CheckoutDeps, checkoutRoutes } from './checkout/index.js';
import { completionsRoutes } from './completions/index.js';
import { type ConsumersDeps, consumersRoutes } from './consumers/index.js';
import { embeddingsRoutes } from './embeddings/index.js';
import { type HealthDeps, healthRoutes } from './health/index.js';
import { type KeysDeps, keysRoutes } from './keys/index.js';
import { type LocalCheckoutDeps, localCheckoutRoutes } from './local-checkout/index.js';
import { type ModelInfoDeps, modelInfoRoutes } from './model-info/index.js';
import { type ModelsDeps, modelsRoutes } from './models/index.js';
import { type PaymentWebhooksDeps, paymentWebhooksRoutes } from './payment-webhooks/index.js';
import { type ProjectsDeps, projectsRoutes } from './projects/index.js';
import { type RequestsDeps, requestsRoutes } from './requests/index.js';
import { type TopUpDeps, topUpRoutes } from './top-up/index.js';
import { PATH_USES } from './unserved/unserved-surfaces.js';
import { type UsageDeps, usageRoutes } from './usage/index.js';

export type RouteDeps = AdminGrantsDeps &
  AdminPlansDeps &
  AdminTrialBalanceDeps &
  BalanceDeps &
  BilledRunDeps &
  CheckoutDeps &
  ConsumersDeps &
  HealthDeps &
  KeysDeps &
  LocalCheckoutDeps &
  ModelInfoDeps &
  ModelsDeps &
  PaymentWebhooksDeps &
  ProjectsDeps &
  RequestsDeps &
  TopUpDeps &
  TranscriptionDeps &
  UsageDeps;

export function allRoutes(deps: RouteDeps): RouteDefinition[] {
  const routes: RouteDefinition[] = [
    ...chatCompletionsRoutes(deps),
    ...completionsRoutes(deps),
    ...embeddingsRoutes(deps),
    ...audioTranscriptionsRoutes(deps),
    ...modelsRoutes(deps),
    ...modelInfoRoutes(deps),
    ...projectsRoutes(deps),
    ...keysRoutes(deps),
    ...balanceRoutes(deps),
    ...usageRoutes(deps),
    ...requestsRoutes(deps),
    ...consumersRoutes(deps),
    ...checkoutRoutes(deps),
    ...localCheckoutRoutes(deps),
    ...paymentWebhooksRoutes(deps),
    ...topUpRoutes(deps),
    ...adminGrantsRoutes(deps),
    ...adminPlansRoutes(deps),
    ...adminTrialBalanceRoutes(deps),
    ...healthRoutes(deps),
    ...docsPageRoutes(deps),
    ...openApiRoutes(deps, () => routes),
  ].filter(({ path }) => {
    const use = PATH_USES[path];
    return use === undefined || deps.models.serves(use);
  });
  return routes;
}
