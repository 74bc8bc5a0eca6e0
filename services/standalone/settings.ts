/** The embedded deployment's settings, from the environment alone. Every fault is reported at once, by the variable's name. */
import { z } from 'zod';

export const ENGINES = ['tiny', 'echo', 'llama'] as const;

/** Empty is unset: `PORT= npm start` should behave like `npm start`. */
const unsetWhenEmpty = (value: unknown) => (value === '' ? undefined : value);

const integer = (minimum: number, maximum: number) =>
  z
    .string()
    .regex(/^\d+$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(minimum, `must be at least ${minimum}`).max(maximum, `must be at most ${maximum}`));

const SettingsSchema = z.object({
  PORT: z.preprocess(unsetWhenEmpty, integer(0, 65_535).default(8080)),
  FAREBOX_HOST: z.preprocess(unsetWhenEmpty, z.string().default('127.0.0.1')),
  FAREBOX_DATA_DIR: z.preprocess(unsetWhenEmpty, z.string().default('.farebox')),
  FAREBOX_PRESET: z.preprocess(unsetWhenEmpty, z.string().default('farebox')),
  FAREBOX_MODEL_DIR: z.preprocess(unsetWhenEmpty, z.string().optional()),
  FAREBOX_ENGINE: z.preprocess(unsetWhenEmpty, z.enum(ENGINES).default('tiny')),
  /** Which of the preset's models the `llama` engine loads; the first with weights by default. */
  FAREBOX_MODEL: z.preprocess(unsetWhenEmpty, z.string().optional()),
  FAREBOX_ENGINE_THREADS: z.preprocess(unsetWhenEmpty, integer(1, 256).optional()),
  FAREBOX_ENGINE_SEQUENCES: z.preprocess(unsetWhenEmpty, integer(1, 256).default(8)),
  FAREBOX_ENGINE_QUEUE_MAX: z.preprocess(unsetWhenEmpty, integer(0, 100_000).default(256)),
  FAREBOX_PUBLIC_URL: z.preprocess(unsetWhenEmpty, z.url({ protocol: /^https?$/ }).optional()),
  DATABASE_URL: z.preprocess(unsetWhenEmpty, z.url({ protocol: /^postgres(ql)?$/, error: 'must be a postgres:// URL' }).optional()),
  FAREBOX_ADMIN_KEY: z.preprocess(unsetWhenEmpty, z.string().min(24, 'must have at least 24 characters').max(200).optional()),
  LOG_LEVEL: z.preprocess(unsetWhenEmpty, z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info')),
});

export type Settings = {
  readonly port: number;
  readonly host: string;
  readonly dataDirectory: string;
  readonly preset: string;
  readonly modelDirectory: string;
  readonly engine: (typeof ENGINES)[number];
  readonly model: string | undefined;
  readonly engineThreads: number | undefined;
  readonly engineSequences: number;
  readonly engineQueueMax: number;
  readonly publicUrl: string | undefined;
  readonly databaseUrl: string | undefined;
  readonly adminKey: string | undefined;
  readonly logLevel: z.infer<typeof SettingsSchema>['LOG_LEVEL'];
};

/** One or more variables cannot be used; the message lists all of them. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError';
}

export function readSettings(environment: Readonly<Record<string, string | undefined>>): Settings {
  const parsed = SettingsSchema.safeParse(environment);
  if (!parsed.success) {
    const faults = parsed.error.issues.map((issue) => `  ${issue.path.join('.')}: ${issue.message}`);
    throw new SettingsError(`these settings cannot be used:\n${faults.join('\n')}`);
  }
  const settings = parsed.data;
  return {
    port: settings.PORT,
    host: settings.FAREBOX_HOST,
    dataDirectory: settings.FAREBOX_DATA_DIR,
    preset: settings.FAREBOX_PRESET,
    modelDirectory: settings.FAREBOX_MODEL_DIR ?? `${settings.FAREBOX_DATA_DIR}/models`,
    engine: settings.FAREBOX_ENGINE,
    model: settings.FAREBOX_MODEL,
    engineThreads: settings.FAREBOX_ENGINE_THREADS,
    engineSequences: settings.FAREBOX_ENGINE_SEQUENCES,
    engineQueueMax: settings.FAREBOX_ENGINE_QUEUE_MAX,
    publicUrl: settings.FAREBOX_PUBLIC_URL,
    databaseUrl: settings.DATABASE_URL,
    adminKey: settings.FAREBOX_ADMIN_KEY,
    logLevel: settings.LOG_LEVEL,
  };
}
