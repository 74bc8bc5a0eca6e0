/** The models a preset offers, with their terms, found by id. */
import type { PriceTerms } from '../../events/contract/index.js';
import { type Preset, type PresetModel, priceTermsOf } from '../../presets/preset-schema.js';
import { refuse } from './refusals.js';

/** Ids longer than this are not compared with the catalogue's: the work grows with both lengths. */
const COMPARED_CHARACTERS_MAX = 100;
const SHOWN_CHARACTERS_MAX = 100;

export type OfferedModel = { readonly model: PresetModel; readonly terms: PriceTerms };

export class ModelCatalogue {
  readonly #offered: ReadonlyMap<string, OfferedModel>;

  constructor(preset: Preset) {
    this.#offered = new Map(preset.models.map((model) => [model.id, { model, terms: priceTermsOf(model) }]));
  }

  all(): readonly OfferedModel[] {
    return [...this.#offered.values()];
  }

  /** Throws `model_not_found`, naming the nearest model that is offered. Ids are never aliased. */
  offered(id: string): OfferedModel {
    const offered = this.#offered.get(id);
    if (offered !== undefined) return offered;
    const message = `The model "${id.slice(0, SHOWN_CHARACTERS_MAX)}" is not offered. The nearest is "${this.#nearest(id)}".`;
    throw refuse('model_not_found', { message, param: 'model' });
  }

  #nearest(id: string): string {
    const wanted = id.slice(0, COMPARED_CHARACTERS_MAX).toLowerCase();
    let nearest = '';
    let nearestDistance = Number.POSITIVE_INFINITY;
    for (const candidate of this.#offered.keys()) {
      const distance = editDistance(wanted, candidate.slice(0, COMPARED_CHARACTERS_MAX).toLowerCase());
      if (distance < nearestDistance) {
        nearest = candidate;
        nearestDistance = distance;
      }
    }
    return nearest;
  }
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
