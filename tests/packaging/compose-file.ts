/** `docker/compose.yaml` and what is laid over it, as parsed YAML with the values still as written: `${NAME:?why}` and all. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';
import { packageFile } from '../../platform/package-root.js';

const ServiceSchema = z.looseObject({
  image: z.string().optional(),
  build: z.object({ context: z.string(), dockerfile: z.string() }).optional(),
  command: z.array(z.string()).optional(),
  environment: z.record(z.string(), z.string()).default({}),
  ports: z.array(z.string()).default([]),
  volumes: z.array(z.string()).default([]),
  networks: z.array(z.string()).default([]),
  restart: z.string().optional(),
  healthcheck: z.looseObject({ test: z.array(z.string()).optional(), disable: z.boolean().optional() }).optional(),
  depends_on: z.record(z.string(), z.strictObject({ condition: z.string() })).default({}),
  deploy: z.looseObject({ resources: z.looseObject({ limits: z.looseObject({ memory: z.string() }) }) }).optional(),
});

const ComposeSchema = z.looseObject({
  services: z.record(z.string(), ServiceSchema),
  networks: z.record(z.string(), z.object({ internal: z.boolean().optional() })).default({}),
  volumes: z.record(z.string(), z.unknown()).default({}),
});

export type Service = z.infer<typeof ServiceSchema>;
export type Compose = z.infer<typeof ComposeSchema>;

export function readCompose(file: string): Compose {
  return ComposeSchema.parse(parse(readFileSync(packageFile(file), 'utf8'), { merge: true }));
}

/** Every `${NAME…}` in a text: the name, and what follows it (`:-default`, `:?message`, or nothing). */
export function variablesIn(text: string): readonly { readonly name: string; readonly rest: string }[] {
  return [...text.matchAll(/\$\{([A-Z0-9_]+)([^}]*)\}/g)].map(([, name = '', rest = '']) => ({ name, rest }));
}

/** A value with each variable's default in its place, and `given` where there is none. */
export function withDefaults(text: string, given: string): string {
  return text.replace(/\$\{[A-Z0-9_]+(?::-([^}]*)|[^}]*)\}/g, (_, fallback: string | undefined) => fallback ?? given);
}
