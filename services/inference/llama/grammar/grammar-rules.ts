/**
 * Writes GBNF, llama.cpp's grammar language (its grammars/README.md): rules by name, and the JSON that every grammar of ours is made of.
 * Blanks are bounded wherever they may stand, so a model cannot go on with them for ever; strings and lists may be closed at any time.
 */

/** llama.cpp refuses more repetitions than 2,000 in one expression. */
const REPETITIONS_PER_EXPRESSION = 1_000;

/** Nesting of values that no schema describes. */
const FREE_DEPTH_MAX = 8;

const BASE_RULES: readonly (readonly [string, string])[] = [
  ['hex', '[0-9a-fA-F]'],
  // Surrogates are left out: one alone is no text, and two would count as two characters. So are bytes that end in no character.
  ['escape', '"\\\\" ( ["\\\\/bfnrt] | "u" ( [0-9a-cA-CefEF] hex{3} | [dD] [0-7] hex{2} ) )'],
  ['char', '[\\x20-\\x21\\x23-\\x5B\\x5D-\\x7E\\u00A0-\\uD7FF\\uE000-\\uFFFD\\U00010000-\\U0010FFFF] | escape'],
  ['string', '"\\"" char* "\\""'],
  ['whole', '"0" | [1-9] [0-9]{0,14}'],
  ['integer', '"-"? whole'],
  // Two digits of exponent keep every number finite.
  ['number', '"-"? whole ( "." [0-9]{1,15} )? ( [eE] [+-]? [0-9]{1,2} )?'],
  ['boolean', '"true" | "false"'],
  ['scalar', 'string | number | boolean | "null"'],
];

export class GrammarRules {
  readonly #rules = new Map<string, string>(BASE_RULES);

  /** `mayIndent`: lines may be broken between values. Calls are trained on one line, and blanks cost tokens. */
  constructor(mayIndent: boolean) {
    this.set('ws', mayIndent ? '( " " | "\\n" " "{0,12} )?' : '" "?');
    this.set('free0', 'scalar');
    for (let depth = 1; depth <= FREE_DEPTH_MAX; depth += 1) {
      const inner = `free${depth - 1}`;
      this.set(`free${depth}`, `scalar | ${this.map(inner)} | ${this.list(inner, 0, null)}`);
    }
  }

  /** Any JSON value. */
  get free(): string {
    return `free${FREE_DEPTH_MAX}`;
  }

  set(name: string, expression: string): string {
    this.#rules.set(name, expression);
    return name;
  }

  /** An object of any keys. */
  map(value: string): string {
    const entry = `string ":" ws ${value}`;
    return `"{" ws ( ${entry} ( "," ws ${entry} )* ws )? "}"`;
  }

  list(item: string, min: number, max: number | null): string {
    if (max === 0) return '"[" ws "]"';
    const more = this.repeat(`"," ws ${item}`, Math.max(0, min - 1), max === null ? null : max - 1);
    const items = `${item} ${more} ws`;
    return min === 0 ? `"[" ws ( ${items} )? "]"` : `"[" ws ${items} "]"`;
  }

  /** `max` of `null`: without end. */
  repeat(expression: string, min: number, max: number | null): string {
    const name = this.#add(expression);
    const parts: string[] = [];
    let left = min;
    for (; left > REPETITIONS_PER_EXPRESSION; left -= REPETITIONS_PER_EXPRESSION) parts.push(`${name}{${REPETITIONS_PER_EXPRESSION}}`);
    if (left > 0) parts.push(`${name}{${left}}`);
    if (max === null) parts.push(`${name}*`);
    else if (max > min) parts.push(this.#upTo(name, max - min));
    return parts.join(' ');
  }

  /** The text of the grammar. */
  text(root: string): string {
    return [`root ::= ${root}`, ...Array.from(this.#rules, ([name, expression]) => `${name} ::= ${expression}`), ''].join('\n');
  }

  #upTo(name: string, max: number): string {
    if (max <= REPETITIONS_PER_EXPRESSION) return `${name}{0,${max}}`;
    const rest = this.#upTo(name, max - REPETITIONS_PER_EXPRESSION);
    const chunk = REPETITIONS_PER_EXPRESSION;
    return this.#add(`${name}{0,${chunk - 1}} | ${name}{${chunk}} ${rest}`);
  }

  #add(expression: string): string {
    if (/^[a-z][a-z0-9-]*$/.test(expression)) return expression;
    return this.set(`r${this.#rules.size}`, expression);
  }
}

/** A text, exactly. */
export function literal(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&').replaceAll('\n', '\\n').replaceAll('\r', '\\r').replaceAll('\t', '\\t')}"`;
}

/** One of the texts; what they begin with in common stands once, or llama.cpp would follow each of them on its own. */
export function oneOf(texts: readonly string[]): string {
  const groups = new Map<string, string[]>();
  for (const text of texts) {
    const first = String.fromCodePoint(text.codePointAt(0) ?? 0);
    const group = groups.get(first);
    if (group === undefined) groups.set(first, [text]);
    else group.push(text);
  }
  return Array.from(groups.values(), (group) => {
    const [only, ...others] = group;
    if (only === undefined || others.length === 0) return literal(only ?? '');
    const prefix = commonPrefix(group);
    const rests = group.map((text) => text.slice(prefix.length)).filter((rest) => rest !== '');
    return `${literal(prefix)} ( ${oneOf(rests)} )${rests.length < group.length ? '?' : ''}`;
  }).join(' | ');
}

/** Never ends inside a character of two code units. */
function commonPrefix(texts: readonly string[]): string {
  const [first = '', ...others] = texts.map((text) => Array.from(text));
  let length = 0;
  while (length < first.length && others.every((other) => other[length] === first[length])) length += 1;
  return Array.from(first).slice(0, length).join('');
}
