/** Turns zod schemas into the JSON Schemas of an OpenAPI 3.1 document; named schemas become components that are stated once. */
import { z } from 'zod';

export type JsonSchema = { readonly [key: string]: unknown };

/** `input`: what a client sends. `output`: what it gets, where properties may be added later. */
export type Direction = 'input' | 'output';

const DEFINITION_PREFIX = '#/$defs/';
const COMPONENT_PREFIX = '#/components/schemas/';

export class SchemaComponents {
  readonly #components = new Map<string, JsonSchema>();

  /** The schema, with references to the components it uses. */
  schemaOf(schema: z.ZodType, direction: Direction): JsonSchema {
    const {
      $schema: _dialect,
      $defs,
      ...root
    } = z.toJSONSchema(schema, {
      io: direction,
      target: 'draft-2020-12',
      unrepresentable: 'any',
      override: ({ jsonSchema }) => {
        if (direction === 'output' && jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties;
      },
    });
    const definitions = ($defs ?? {}) as Readonly<Record<string, JsonSchema>>;
    const names = this.#namesFor(definitions, direction);
    for (const [id, definition] of Object.entries(definitions)) {
      this.#components.set(names.get(id) ?? id, withComponentReferences(definition, names) as JsonSchema);
    }
    return withComponentReferences(root, names) as JsonSchema;
  }

  /** By name, in alphabetical order, so that the document is stable. */
  all(): Record<string, JsonSchema> {
    return Object.fromEntries([...this.#components].sort(([left], [right]) => (left < right ? -1 : 1)));
  }

  /** A schema that is both sent and received may differ in the two directions; the one received then gets a name of its own. */
  #namesFor(definitions: Readonly<Record<string, JsonSchema>>, direction: Direction): Map<string, string> {
    const plain = new Map(Object.keys(definitions).map((id) => [id, id]));
    const names = new Map<string, string>();
    for (const [id, definition] of Object.entries(definitions)) {
      const known = this.#components.get(id);
      const isSame = known === undefined || JSON.stringify(known) === JSON.stringify(withComponentReferences(definition, plain));
      names.set(id, isSame ? id : `${id}${direction === 'output' ? 'Response' : 'Input'}`);
    }
    return names;
  }
}

function withComponentReferences(node: unknown, names: ReadonlyMap<string, string>): unknown {
  if (Array.isArray(node)) return node.map((item) => withComponentReferences(item, names));
  if (typeof node !== 'object' || node === null) return node;
  const entries = Object.entries(node).map(([key, value]) => {
    if (key !== '$ref' || typeof value !== 'string' || !value.startsWith(DEFINITION_PREFIX)) {
      return [key, withComponentReferences(value, names)] as const;
    }
    const id = value.slice(DEFINITION_PREFIX.length);
    return [key, `${COMPONENT_PREFIX}${names.get(id) ?? id}`] as const;
  });
  return Object.fromEntries(entries);
}
