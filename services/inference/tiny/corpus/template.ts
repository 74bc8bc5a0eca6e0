/**
 * Sentences with choices. `(Hello|Hi)` picks one of the alternatives, which may be empty and may nest. `{animal}` puts in an entry of that
 * list, the same one each time it is named within a dialogue; `{animal.2}` is a second, different one. An entry with two sides gives its
 * other side as `{capital:value}`.
 */
import type { Random } from '../random.js';

export type SlotEntry = { readonly key: string; readonly value: string };

/** What a slot can hold: a list of entries, or a maker of new ones. */
export type SlotSource = readonly SlotEntry[] | ((random: Random) => SlotEntry);

/** The entries chosen so far in a dialogue, by slot. */
export type Bindings = Map<string, SlotEntry>;

/** One text out of the template. Throws on unbalanced brackets and unknown slots: the corpus is ours, so that is a bug. */
export function expandTemplate(template: string, sources: ReadonlyMap<string, SlotSource>, bindings: Bindings, random: Random): string {
  const { text, end } = expandUntil(template, 0, random);
  if (end !== template.length) throw new Error(`unbalanced ")" in ${template}`);
  const filled = text.replace(/\{([a-z_]+)(\.\d+)?(:value)?\}/g, (_, list: string, number = '', side = '') => {
    const entry = boundEntry(list, list + number, sources, bindings, random);
    return side === '' ? entry.key : entry.value;
  });
  return withCapitals(withArticles(filled));
}

/** Reads alternatives up to the closing bracket or the end and returns one of them. */
function expandUntil(template: string, start: number, random: Random): { text: string; end: number } {
  const alternatives: string[] = [];
  let current = '';
  let at = start;
  while (at < template.length && template[at] !== ')') {
    const character = template[at];
    if (character === '(') {
      const inner = expandUntil(template, at + 1, random);
      if (template[inner.end] !== ')') throw new Error(`unbalanced "(" in ${template}`);
      current += inner.text;
      at = inner.end + 1;
    } else if (character === '|') {
      alternatives.push(current);
      current = '';
      at++;
    } else {
      current += character;
      at++;
    }
  }
  alternatives.push(current);
  return { text: random.pick(alternatives), end: at };
}

function boundEntry(list: string, slot: string, sources: ReadonlyMap<string, SlotSource>, bindings: Bindings, random: Random): SlotEntry {
  const bound = bindings.get(slot);
  if (bound !== undefined) return bound;
  const source = sources.get(list);
  if (source === undefined) throw new Error(`no list for {${slot}}`);
  const taken = new Set(bindings.values());
  const entry = typeof source === 'function' ? source(random) : random.pick(source.filter((candidate) => !taken.has(candidate)));
  bindings.set(slot, entry);
  return entry;
}

/** "a owl" becomes "an owl"; a unicorn keeps its "a". */
function withArticles(text: string): string {
  return text.replace(/\b([Aa]) (?=[aeiou])(?!uni|use|one\b)/g, '$1n ');
}

/** Sentences begin with a capital, except with the one name that is always written small. */
function withCapitals(text: string): string {
  return text.replace(/(^|[.!?] )(?!llama\.cpp)([a-z])/g, (_, before: string, letter: string) => before + letter.toUpperCase());
}
