/**
 * Finds the route of a request. Fixed paths are one look-up; the others are matched segment by segment. Replaces Express's layers on the hot
 * path: one handler serves every route, so cost does not grow with their number.
 */
import type { RouteDefinition } from './route.js';

export type RouteMatch<Mounted> =
  | { readonly status: 'found'; readonly route: Mounted; readonly params: Readonly<Record<string, string>> }
  | { readonly status: 'method_not_allowed'; readonly allow: string }
  | { readonly status: 'not_found' };

type Method = RouteDefinition['method'];
type ByMethod<Mounted> = Map<Method, Mounted>;
type Pattern<Mounted> = { readonly segments: readonly string[]; readonly methods: ByMethod<Mounted> };

const NO_PARAMS: Readonly<Record<string, string>> = {};
const NOT_FOUND = { status: 'not_found' } as const;

export class RouteTable<Mounted> {
  readonly #fixed = new Map<string, ByMethod<Mounted>>();
  readonly #patterns: Pattern<Mounted>[] = [];

  /** Throws when the same method and path is added twice: one of the two routes would never be reached. */
  add(method: Method, path: string, mounted: Mounted): void {
    const methods = this.#methodsOf(path);
    if (methods.has(method)) throw new Error(`two routes for ${method} ${path}`);
    methods.set(method, mounted);
  }

  /** `method` as Node gives it (`GET`); a HEAD is served as GET. */
  find(method: string, path: string): RouteMatch<Mounted> {
    const fixed = this.#fixed.get(path);
    if (fixed !== undefined) return pick(fixed, method, NO_PARAMS);
    for (const pattern of this.#patterns) {
      const params = matchSegments(pattern.segments, path);
      if (params !== null) return pick(pattern.methods, method, params);
    }
    return NOT_FOUND;
  }

  #methodsOf(path: string): ByMethod<Mounted> {
    if (!/[:*]/.test(path)) {
      const known = this.#fixed.get(path);
      if (known !== undefined) return known;
      const methods: ByMethod<Mounted> = new Map();
      this.#fixed.set(path, methods);
      return methods;
    }
    const segments = path.split('/').slice(1);
    const known = this.#patterns.find((pattern) => pattern.segments.join('/') === segments.join('/'));
    if (known !== undefined) return known.methods;
    const methods: ByMethod<Mounted> = new Map();
    this.#patterns.push({ segments, methods });
    return methods;
  }
}

function pick<Mounted>(methods: ByMethod<Mounted>, method: string, params: Readonly<Record<string, string>>): RouteMatch<Mounted> {
  const route = methods.get(method === 'HEAD' ? 'get' : (method.toLowerCase() as Method));
  if (route !== undefined) return { status: 'found', route, params };
  return { status: 'method_not_allowed', allow: [...methods.keys()].map((name) => name.toUpperCase()).join(', ') };
}

/** `:name` takes one segment, `*name` the rest with its slashes. `null`: no match, or a segment that is not decodable. */
function matchSegments(segments: readonly string[], path: string): Record<string, string> | null {
  const parts = path.split('/').slice(1);
  const params: Record<string, string> = {};
  for (const [index, segment] of segments.entries()) {
    const part = parts[index];
    if (part === undefined || part === '') return null;
    if (segment.startsWith('*')) return assign(params, segment.slice(1), parts.slice(index).join('/'));
    if (segment.startsWith(':')) {
      if (assign(params, segment.slice(1), part) === null) return null;
    } else if (segment !== part) return null;
  }
  return parts.length === segments.length ? params : null;
}

function assign(params: Record<string, string>, name: string, encoded: string): Record<string, string> | null {
  try {
    params[name] = decodeURIComponent(encoded);
    return params;
  } catch {
    return null;
  }
}
