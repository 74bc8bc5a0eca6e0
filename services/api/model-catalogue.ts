/** The models a preset offers, with their terms, found by id. */
import type { PriceTerms } from '../../events/contract/index.js';
import {
  type ModelKind,
  makesEmbeddings,
  type Preset,
  type PresetModel,
  type PresetVariant,
  priceTermsOf,
} from '../../presets/preset-schema.js';
import { refuse } from './refusals.js';

/** Ids longer than this are not compared with the catalogue's: the work grows with both lengths. */
const COMPARED_CHARACTERS_MAX = 100;
const SHOWN_CHARACTERS_MAX = 100;

export type OfferedModel = {
  readonly model: PresetModel;
  readonly terms: PriceTerms;
  /** `null` where the model is offered in one way only; it goes to the worker by its `quantization`. */
  readonly variant: PresetVariant | null;
};

/** What an endpoint asks of a model. */
export type ModelUse = ModelKind;

type Offer = { readonly model: PresetModel /** The default first. */; readonly choices: readonly [OfferedModel, ...OfferedModel[]] };

export class ModelCatalogue {
  readonly #offers: ReadonlyMap<string, Offer>;
  readonly #brand: string;

  constructor(preset: Preset) {
    this.#offers = new Map(preset.models.map((model) => [model.id, { model, choices: choicesOf(model) }]));
    this.#brand = preset.brand.display_name;
  }

  /** Each model in its default variant. */
  all(): readonly OfferedModel[] {
    return [...this.#offers.values()].map(({ choices }) => choices[0]);
  }

  /** The default first; `undefined` for a model that is offered in one way only. */
  quantizationsOf(id: string): string[] | undefined {
    const names = this.#offers.get(id)?.choices.flatMap(({ variant }) => (variant === null ? [] : [variant.quantization]));
    return names === undefined || names.length === 0 ? undefined : names;
  }

  /** Whether any model serves this use. */
  serves(use: ModelUse): boolean {
    return [...this.#offers.values()].some(({ model }) => isFor(model, use));
  }

  /**
   * The model in the variant asked for, or its cheapest. Throws `model_not_found`, naming the nearest model that is offered (ids are never
   * aliased), `invalid_value` for a variant that it does not have, and for a model of another use than the endpoint's.
   */
  offered(id: string, quantization?: string | null, use?: ModelUse): OfferedModel {
    const offer = this.#offers.get(id);
    if (offer === undefined) throw this.#notOffered(id, use);
    if (use !== undefined && !isFor(offer.model, use)) throw otherUse(offer.model, use);
    if (quantization === undefined || quantization === null) return offer.choices[0];
    const chosen = offer.choices.find(({ variant }) => variant?.quantization === quantization);
    if (chosen === undefined) throw noSuchVariant(offer, quantization);
    return chosen;
  }

  #notOffered(id: string, use: ModelUse | undefined) {
    const shown = id.slice(0, SHOWN_CHARACTERS_MAX);
    const why = PROPRIETARY.test(id)
      ? `"${shown}" is a proprietary model, which ${this.#brand} does not serve or alias.`
      : `The model "${shown}" is not offered.`;
    return refuse('model_not_found', { message: `${why} The nearest is "${this.#nearest(id, use)}".`, param: 'model' });
  }

  /** Among the models of the use, if there are any. */
  #nearest(id: string, use: ModelUse | undefined): string {
    const wanted = id.slice(0, COMPARED_CHARACTERS_MAX).toLowerCase();
    let nearest = '';
    let nearestDistance = Number.POSITIVE_INFINITY;
    const ofUse = [...this.#offers.values()].filter(({ model }) => use === undefined || isFor(model, use));
    for (const { model } of ofUse.length > 0 ? ofUse : this.#offers.values()) {
      const candidate = model.id;
      const distance = editDistance(wanted, candidate.slice(0, COMPARED_CHARACTERS_MAX).toLowerCase());
      if (distance < nearestDistance) {
        nearest = candidate;
        nearestDistance = distance;
      }
    }
    return nearest;
  }
}

/** Names under which others sell models that nobody else may run. */
const PROPRIETARY =
  /^(?:gpt-(?!oss)|chatgpt|o[134](?:-|$)|text-(?:embedding|davinci)|davinci|whisper-1$|tts-|dall-e|claude|gemini|command-r)/i;

/** The cheapest first; of equals the one that the preset lists first. */
function choicesOf(model: PresetModel): [OfferedModel, ...OfferedModel[]] {
  const offeredAs = (variant: PresetVariant | null): OfferedModel => ({
    model,
    variant,
    terms: variant === null ? priceTermsOf(model) : priceTermsOf(model, variant),
  });
  const [first, ...rest] = (model.variants ?? [])
    .map(offeredAs)
    .sort((one, other) => compareNanos(sumOfRates(one.terms), sumOfRates(other.terms)));
  return first === undefined ? [offeredAs(null)] : [first, ...rest];
}

/** Variants of a model are priced in one way, so the sum of their rates puts them in order. */
function sumOfRates(terms: PriceTerms): bigint {
  return Object.values(terms).reduce<bigint>((sum, value) => (typeof value === 'bigint' ? sum + value : sum), 0n);
}

function compareNanos(one: bigint, other: bigint): number {
  return one < other ? -1 : one > other ? 1 : 0;
}

function isFor(model: PresetModel, use: ModelUse): boolean {
  return use === 'embedding' ? makesEmbeddings(model) : model.kind === use;
}

const USE_TEXTS: Readonly<Record<ModelUse, string>> = {
  chat: 'does not generate text',
  embedding: 'makes no embeddings',
  transcription: 'does not transcribe audio',
};

function otherUse(model: PresetModel, use: ModelUse) {
  return refuse('invalid_value', { message: `The model "${model.id}" ${USE_TEXTS[use]}.`, param: 'model' });
}

function noSuchVariant({ model, choices }: Offer, quantization: string) {
  const names = choices.flatMap(({ variant }) => (variant === null ? [] : [variant.quantization]));
  const asked = quantization.slice(0, SHOWN_CHARACTERS_MAX);
  const message =
    names.length === 0
      ? `The model "${model.id}" is offered in one way only; leave quantization out.`
      : `The model "${model.id}" is not offered as "${asked}"; it is as ${names.join(', ')}.`;
  return refuse('invalid_value', { message, param: 'quantization' });
}

/** Levenshtein's distance: insertions, deletions and replacements that turn one text into the other. One row of the table is kept. */
function editDistance(from: string, to: string): number {
  let previous = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let row = 1; row <= from.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= to.length; column += 1) {
      const replaced = (previous[column - 1] ?? 0) + (from[row - 1] === to[column - 1] ? 0 : 1);
      current.push(Math.min((previous[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1, replaced));
    }
    previous = current;
  }
  return previous[to.length] ?? 0;
}
