/** Which limits a plan has: the preset's own, with what the plan says instead. */
import type { Preset } from '../../../presets/preset-schema.js';

export type Limits = Preset['limits'];
/** As much of a preset as limiters read. */
export type LimitsOffer = Pick<Preset, 'limits' | 'plans'>;

export class PlanLimits {
  readonly #byPlan = new Map<string, Limits>();
  readonly #default: Limits;

  constructor(offer: LimitsOffer) {
    this.#default = offer.limits;
    for (const [name, overrides] of Object.entries(offer.plans)) this.#byPlan.set(name, { ...offer.limits, ...overrides });
  }

  /** The same object for the same plan. A plan that an earlier preset had counts as none. */
  of(plan: string | null | undefined): Limits {
    if (plan === null || plan === undefined) return this.#default;
    return this.#byPlan.get(plan) ?? this.#default;
  }
}
