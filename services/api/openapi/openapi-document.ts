/**
 * The OpenAPI 3.1 document, generated from the definitions that serve the requests, so the two cannot drift apart. `x-policy` and `x-billed` say
 * who may call a route and whether a call may cost; tests enumerate the routes by them.
 */
import type { Preset } from '../../../presets/preset-schema.js';
import type { RouteDefinition, RoutePolicy } from '../route.js';
import { rolesOf } from '../route-roles.js';
import { commonRefusals, errorSchema, isLimited, requestHeadersOf, responseHeaders } from './common-responses.js';
import { exampleBody } from './example-bodies.js';
import { type JsonSchema, SchemaComponents } from './json-schemas.js';

export type OpenApiOptions = {
  readonly routes: readonly RouteDefinition[];
  readonly preset: Preset;
  readonly publicBaseUrl: string;
  /** Of the software, shown as `info.version`. */
  readonly version: string;
};

export type OpenApiDocument = {
  readonly openapi: '3.1.0';
  readonly info: JsonSchema;
  readonly servers: readonly JsonSchema[];
  readonly tags: readonly JsonSchema[];
  readonly paths: Record<string, Record<string, JsonSchema>>;
  readonly components: {
    readonly schemas: Record<string, JsonSchema>;
    readonly securitySchemes: Record<string, JsonSchema>;
    readonly headers: Record<string, JsonSchema>;
  };
};

const SECURITY_OF: Readonly<Record<RoutePolicy, readonly JsonSchema[]>> = {
  public: [],
  project_key: [{ projectKey: [] }],
  admin: [{ adminKey: [] }],
};

const RATE_LIMITED = 429;
/** Named in the description; more would bury what else it says. */
const SHOWN_MODELS_MAX = 30;

type Generator = { readonly components: SchemaComponents; readonly headers: Record<string, JsonSchema>; readonly preset: Preset };

export function openApiDocument(options: OpenApiOptions): OpenApiDocument {
  const { preset, routes } = options;
  const generator: Generator = { components: new SchemaComponents(), headers: responseHeaders(preset.limits), preset };
  const paths: OpenApiDocument['paths'] = {};
  for (const route of routes) {
    const path = openApiPath(route.path);
    paths[path] = { ...paths[path], [route.method]: operation(generator, route) };
  }
  return {
    openapi: '3.1.0',
    info: {
      title: `${preset.brand.display_name} API`,
      version: options.version,
      description: descriptionOf(preset),
    },
    servers: [{ url: options.publicBaseUrl }],
    tags: [...new Set(routes.map((route) => route.tag))].map((name) => ({ name })),
    paths,
    components: {
      schemas: { ...generator.components.all(), Error: errorSchema(preset.errors.shape) },
      securitySchemes: {
        projectKey: {
          type: 'http',
          scheme: 'bearer',
          description: `A project's key: ${preset.api_keys.live_prefix}… or ${preset.api_keys.test_prefix}…; \`x-roles\` names the roles that may call.`,
        },
        adminKey: { type: 'http', scheme: 'bearer', description: "The operator's admin key." },
      },
      headers: generator.headers,
    },
  };
}

function descriptionOf({ models, unprefixed_routes: isUnprefixed }: Preset): string {
  const shown = models.slice(0, SHOWN_MODELS_MAX).map(({ id }) => `\`${id}\``);
  const more = models.length > shown.length ? ' and more' : '';
  return [
    'OpenAI-compatible inference, paid from prepaid credit: reserved before a request runs, settled or refunded after.',
    `Models: ${shown.join(', ')}${more}; \`GET /v1/models\` has them all.`,
    ...(isUnprefixed ? ['What a project key opens under `/v1` answers without it too.'] : []),
  ].join('\n\n');
}

/** `/v1/requests/:id` is `/v1/requests/{id}`; `*name`, which takes the rest of a path, has no better expression in OpenAPI than a parameter. */
export function openApiPath(path: string): string {
  return path.replace(/[:*]([A-Za-z_]\w*)/g, '{$1}');
}

function operation(generator: Generator, route: RouteDefinition): JsonSchema {
  const parameters = [
    ...parametersOf(generator, route, 'path'),
    ...parametersOf(generator, route, 'query'),
    ...Object.entries(requestHeadersOf(route, generator.preset)).map(([name, description]) => ({
      name,
      in: 'header',
      description,
      schema: { type: 'string' },
    })),
  ];
  return {
    operationId: route.operationId,
    summary: route.summary,
    tags: [route.tag],
    security: SECURITY_OF[route.policy],
    'x-policy': route.policy,
    ...(route.policy === 'project_key' ? { 'x-roles': rolesOf(route.operationId) } : {}),
    ...(route.billed === true ? { 'x-billed': true } : {}),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(route.body === undefined
      ? {}
      : {
          requestBody: {
            required: true,
            content: {
              [route.bodyType ?? 'application/json']: {
                schema: generator.components.schemaOf(route.body, 'input'),
                ...exampleBody(route.operationId, generator.preset),
              },
            },
          },
        }),
    responses: responsesOf(generator, route),
  };
}

function parametersOf(generator: Generator, route: RouteDefinition, place: 'path' | 'query'): JsonSchema[] {
  const zodSchema = place === 'path' ? route.params : route.query;
  if (zodSchema === undefined) return [];
  const schema = generator.components.schemaOf(zodSchema, 'input');
  const properties = (schema['properties'] ?? {}) as Readonly<Record<string, JsonSchema>>;
  const required = new Set((schema['required'] ?? []) as readonly string[]);
  return Object.entries(properties).map(([name, { description, ...property }]) => ({
    name,
    in: place,
    required: place === 'path' || required.has(name),
    ...(description === undefined ? {} : { description }),
    schema: property,
  }));
}

function responsesOf(generator: Generator, route: RouteDefinition): JsonSchema {
  const headers = headerReferences(generator, route);
  const error = { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } };
  const responses: Record<string, JsonSchema> = {};
  for (const [status, description] of commonRefusals(route, generator.preset)) {
    // Every answer carries the headers; stating them with every refusal would make the document three times as long.
    responses[status] = { description, ...(status === RATE_LIMITED ? { headers } : {}), content: error };
  }
  for (const [status, response] of Object.entries(route.responses)) {
    const isRefusal = Number(status) >= 400 && response.schema === undefined;
    const contentType = response.contentType ?? 'application/json';
    const media = response.schema === undefined ? {} : { schema: generator.components.schemaOf(response.schema, 'output') };
    const hasContent = response.schema !== undefined || response.contentType !== undefined;
    responses[status] = {
      description: response.description,
      ...(isRefusal ? {} : { headers }),
      ...(isRefusal ? { content: error } : hasContent ? { content: { [contentType]: media } } : {}),
    };
  }
  return responses;
}

function headerReferences(generator: Generator, route: RouteDefinition): JsonSchema {
  const names = Object.keys(generator.headers).filter((name) => isLimited(route) || !name.startsWith('X-RateLimit-'));
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
}
