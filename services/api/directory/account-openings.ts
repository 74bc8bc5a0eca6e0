/** How the account of a project or consumer is opened: whose it is, in which unit, with how much starter credit. */
import type { Environment } from '../../../events/contract/index.js';
import type { Preset } from '../../../presets/preset-schema.js';
import type { AccountOpening } from '../../ledger/ledger-client.js';

type OfferTerms = Pick<Preset, 'unit' | 'starter_credit'>;

export function projectOpening(
  project: { readonly projectId: string; readonly environment: Environment },
  offer: OfferTerms,
): AccountOpening {
  return {
    holder: { kind: 'project', projectId: project.projectId },
    unit: offer.unit,
    environment: project.environment,
    starterNanos: offer.starter_credit.project,
  };
}

/** A consumer's credit lives in the environment of its project. */
export function consumerOpening(
  consumer: { readonly projectId: string; readonly consumerId: string },
  environment: Environment,
  offer: OfferTerms,
): AccountOpening {
  return {
    holder: { kind: 'consumer', projectId: consumer.projectId, consumerId: consumer.consumerId },
    unit: offer.unit,
    environment,
    starterNanos: offer.starter_credit.consumer,
  };
}
