/**
 * The shortest way to finish JSON that has been begun: what is written when the output budget ends, so that an answer which was held to a schema
 * validates although it was cut short. Reads the text against the shapes that its grammar was made of; that it follows the grammar is known.
 */
import {
  type AnswerShapes,
  exampleOfShape,
  type PropertyShape,
  type Shape,
  type ShapeId,
  type StringFormat,
} from '../../../../events/contract/index.js';

/** A value that ends before `end`, or one that the text breaks off in and `rest` finishes; `null`: not a value of the shape. */
type Reading = { readonly end: number } | { readonly rest: string } | null;

/** What finishes the text, empty when it is whole; `null` when it is no beginning of a value of these shapes. */
export function completionOf(shapes: AnswerShapes, text: string, root: Shape | null = null): string | null {
  try {
    const reader = new PrefixReader(shapes, text);
    const reading = root === null ? reader.value(shapes.root, 0) : reader.shape(root, 0);
    if (reading === null) return null;
    if ('rest' in reading) return reading.rest;
    return reading.end === text.length ? '' : null;
  } catch (error) {
    // Thousands of levels of nesting; the answer is cut off as it is.
    if (error instanceof RangeError) return null;
    throw error;
  }
}

class PrefixReader {
  readonly #all: AnswerShapes;
  readonly #text: string;
  /** By place and shape: alternatives would otherwise be read again and again. */
  readonly #readings = new Map<number, Reading>();

  constructor(shapes: AnswerShapes, text: string) {
    this.#all = shapes;
    this.#text = text;
  }

  value(id: ShapeId, at: number): Reading {
    const key = at * this.#all.shapes.length + id;
    const known = this.#readings.get(key);
    if (known !== undefined) return known;
    const shape = this.#all.shapes[id];
    const reading = shape === undefined ? null : at === this.#text.length ? { rest: this.#smallest(id) } : this.shape(shape, at);
    this.#readings.set(key, reading);
    return reading;
  }

  shape(shape: Shape, at: number): Reading {
    switch (shape.kind) {
      case 'any':
        return this.#free(at);
      case 'boolean':
        return this.#oneOf(['true', 'false'], at);
      case 'null':
        return this.#oneOf(['null'], at);
      case 'values':
        return this.#oneOf(
          shape.values.map((value) => JSON.stringify(value)),
          at,
        );
      case 'string':
        return this.#string(at, shape.lengthMin);
      case 'format':
        return this.#format(at, shape.format);
      case 'number':
      case 'integer':
        return this.#number(at);
      case 'range':
        return this.#range(at, shape);
      case 'array':
        return this.#array(
          at,
          (place) => this.value(shape.items, place),
          shape.itemsMin,
          () => this.#smallest(shape.items),
        );
      case 'object':
        return this.#object(at, shape.properties);
      case 'map':
        return this.#map(
          at,
          (place) => this.value(shape.values, place),
          () => this.#smallest(shape.values),
        );
      case 'union':
        return shortest(shape.choices.map((choice) => this.value(choice, at)));
    }
  }

  #smallest(id: ShapeId): string {
    return JSON.stringify(exampleOfShape(this.#all, id));
  }

  #free(at: number): Reading {
    if (at === this.#text.length) return { rest: 'null' };
    switch (this.#text[at]) {
      case '"':
        return this.#string(at, 0);
      case '{':
        return this.#map(
          at,
          (place) => this.#free(place),
          () => 'null',
        );
      case '[':
        return this.#array(
          at,
          (place) => this.#free(place),
          0,
          () => 'null',
        );
      default:
        return shortest([this.#oneOf(['true', 'false', 'null'], at), this.#number(at)]);
    }
  }

  #oneOf(texts: readonly string[], at: number): Reading {
    const whole = texts.filter((text) => this.#text.startsWith(text, at)).reduce((longest, text) => Math.max(longest, text.length), 0);
    if (whole > 0) return { end: at + whole };
    const written = this.#text.slice(at);
    return shortest(texts.map((text) => (text.startsWith(written) ? { rest: text.slice(written.length) } : null)));
  }

  #string(at: number, lengthMin: number): Reading {
    if (this.#text[at] !== '"') return null;
    let length = 0;
    for (let place = at + 1; place < this.#text.length; length += 1) {
      const character = this.#text[place];
      if (character === '"') return length >= lengthMin ? { end: place + 1 } : null;
      if (character !== '\\') {
        place += String.fromCodePoint(this.#text.codePointAt(place) ?? 0).length;
        continue;
      }
      const size = this.#text[place + 1] === 'u' ? 6 : 2;
      const written = this.#text.slice(place, place + size);
      // A zero makes every escape that was begun a whole one.
      const missing = size === 2 ? '\\'.repeat(size - written.length) : '0'.repeat(size - written.length);
      if (missing !== '') return { rest: `${missing}${'a'.repeat(Math.max(0, lengthMin - length - 1))}"` };
      place += size;
    }
    return { rest: `${'a'.repeat(Math.max(0, lengthMin - length))}"` };
  }

  #format(at: number, format: StringFormat): Reading {
    if (this.#text[at] !== '"') return null;
    const close = this.#text.indexOf('"', at + 1);
    if (close >= 0) return { end: close + 1 };
    const written = this.#text.slice(at + 1);
    const { pattern, endings } = FORMAT_ENDINGS[format];
    const ends = [endings[0]?.slice(written.length) ?? '', '', ...endings].filter((ending) => pattern.test(written + ending));
    return shortest(ends.map((ending) => ({ rest: `${ending}"` })));
  }

  #number(at: number): Reading {
    const written = NUMBER_PREFIX.exec(this.#text.slice(at))?.[0] ?? '';
    if (written === '') return null;
    if (at + written.length < this.#text.length || NUMBER.test(written)) return { end: at + written.length };
    return { rest: '0' };
  }

  #range(at: number, { least, most, fractionDigits }: Extract<Shape, { kind: 'range' }>): Reading {
    const written = NUMBER_PREFIX.exec(this.#text.slice(at))?.[0] ?? '';
    if (written === '') return null;
    const scale = 10 ** fractionDigits;
    const fits = (text: string) => NUMBER.test(text) && Number(text) >= least / scale && Number(text) <= most / scale;
    if (at + written.length < this.#text.length || fits(written)) return fits(written) ? { end: at + written.length } : null;
    // Of the numbers that begin like this, one is a bound or they all lie between the bounds.
    const bounds = [least, most].map((bound) => (bound / scale).toFixed(fractionDigits)).filter((text) => text.startsWith(written));
    const zeros = Array.from({ length: 16 }, (_, count) => written + '0'.repeat(count));
    const whole = [...bounds, ...zeros, ...zeros.map((text) => `${text.slice(0, -1)}1`)].filter(
      (text) => text.startsWith(written) && fits(text),
    );
    return shortest(whole.map((text) => ({ rest: text.slice(written.length) })));
  }

  #array(at: number, item: (at: number) => Reading, itemsMin: number, smallest: () => string): Reading {
    if (this.#text[at] !== '[') return null;
    const finish = (items: number) =>
      `${Array.from({ length: Math.max(0, itemsMin - items) }, (_, index) => (index + items === 0 ? '' : ',') + smallest()).join('')}]`;
    let place = this.#blanks(at + 1);
    if (place === this.#text.length) return { rest: finish(0) };
    if (this.#text[place] === ']') return itemsMin === 0 ? { end: place + 1 } : null;
    for (let items = 1; ; items += 1) {
      const reading = item(place);
      if (reading === null) return null;
      if ('rest' in reading) return { rest: reading.rest + finish(items) };
      place = this.#blanks(reading.end);
      if (place === this.#text.length) return { rest: finish(items) };
      if (this.#text[place] === ']') return items >= itemsMin ? { end: place + 1 } : null;
      if (this.#text[place] !== ',') return null;
      place = this.#blanks(place + 1);
    }
  }

  #map(at: number, value: (at: number) => Reading, smallest: () => string): Reading {
    if (this.#text[at] !== '{') return null;
    let place = this.#blanks(at + 1);
    if (place === this.#text.length) return { rest: '}' };
    if (this.#text[place] === '}') return { end: place + 1 };
    for (;;) {
      if (place === this.#text.length) return { rest: `"":${smallest()}}` };
      const key = this.#string(place, 0);
      if (key === null) return null;
      if ('rest' in key) return { rest: `${key.rest}:${smallest()}}` };
      if (key.end === this.#text.length) return { rest: `:${smallest()}}` };
      if (this.#text[key.end] !== ':') return null;
      const reading = value(this.#blanks(key.end + 1));
      if (reading === null) return null;
      if ('rest' in reading) return { rest: `${reading.rest}}` };
      place = this.#blanks(reading.end);
      if (place === this.#text.length) return { rest: '}' };
      if (this.#text[place] === '}') return { end: place + 1 };
      if (this.#text[place] !== ',') return null;
      place = this.#blanks(place + 1);
    }
  }

  #object(at: number, properties: readonly PropertyShape[]): Reading {
    if (this.#text[at] !== '{') return null;
    const entry = ({ name, shape }: PropertyShape) => `${JSON.stringify(name)}:${this.#smallest(shape)}`;
    const finish = (next: number, isFirst: boolean) => {
      const missing = properties.slice(next).filter(({ isRequired }) => isRequired);
      return `${missing.map((property, index) => (isFirst && index === 0 ? '' : ',') + entry(property)).join('')}}`;
    };
    let next = 0;
    let place = this.#blanks(at + 1);
    for (let isFirst = true; ; isFirst = false) {
      if (place === this.#text.length) return { rest: finish(next, isFirst) };
      if (this.#text[place] === '}') return properties.slice(next).some(({ isRequired }) => isRequired) ? null : { end: place + 1 };
      if (!isFirst) {
        if (this.#text[place] !== ',') return null;
        place = this.#blanks(place + 1);
      }
      const written = this.#text.slice(place);
      const found = properties.findIndex(({ name }, index) => index >= next && written.startsWith(`${JSON.stringify(name)}:`));
      if (found < 0) return this.#partialKey(written, properties, next, (index) => finish(index + 1, false));
      const property = properties[found];
      if (property === undefined) return null;
      next = found + 1;
      const reading = this.value(property.shape, this.#blanks(place + JSON.stringify(property.name).length + 1));
      if (reading === null) return null;
      if ('rest' in reading) return { rest: reading.rest + finish(next, false) };
      place = this.#blanks(reading.end);
    }
  }

  /** The text breaks off in a key: one of those that may come next, none of which leaves out what is required. */
  #partialKey(written: string, properties: readonly PropertyShape[], next: number, finish: (index: number) => string): Reading {
    const readings: Reading[] = [];
    for (const [index, { name, shape, isRequired }] of properties.entries()) {
      if (index < next) continue;
      const key = `${JSON.stringify(name)}:`;
      if (key.startsWith(written)) readings.push({ rest: `${key.slice(written.length)}${this.#smallest(shape)}${finish(index)}` });
      if (isRequired) break;
    }
    return shortest(readings);
  }

  #blanks(at: number): number {
    let place = at;
    while (this.#text[place] === ' ' || this.#text[place] === '\n') place += 1;
    return place;
  }
}

function shortest(readings: readonly Reading[]): Reading {
  let best: Reading = null;
  for (const reading of readings) {
    if (reading === null) continue;
    if ('end' in reading) return reading;
    if (best === null || ('rest' in best && reading.rest.length < best.rest.length)) best = reading;
  }
  return best;
}

const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const NUMBER_PREFIX = /^-?\d*(\.\d*)?([eE][+-]?\d*)?/;

/** The first ending of each is a whole one, whose tail fits behind most beginnings of its length. */
const FORMAT_ENDINGS: Record<StringFormat, { readonly pattern: RegExp; readonly endings: readonly string[] }> = {
  date: { pattern: /^\d{4}-\d\d-\d\d$/, endings: ['2000-10-10'] },
  time: { pattern: /^\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$/, endings: ['00:00:00Z', 'Z', '0Z', '00:00', '0:00', ':00', '00', '0'] },
  'date-time': {
    pattern: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)$/,
    endings: ['2000-10-10T00:00:00Z', 'Z', '0Z', '00:00', '0:00', ':00', '00', '0'],
  },
  uuid: { pattern: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i, endings: ['00000000-0000-4000-8000-000000000000'] },
  ipv4: { pattern: /^\d{1,3}(\.\d{1,3}){3}$/, endings: ['0.0.0.0', '.0.0.0', '0.0.0', '.0.0', '0.0', '.0', '0'] },
  email: {
    pattern: /^[a-z0-9]+([._-][a-z0-9]+)*@([a-z0-9]+\.)+[a-z]{2,10}$/i,
    endings: ['a@example.com', '@example.com', 'example.com', '.com', 'com', 'om', 'm'],
  },
};
