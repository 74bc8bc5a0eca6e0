/** Settings from the environment, checked by a schema. Every fault is reported at once, by the variable's name. */
import { z } from 'zod';
import { LOG_LEVELS } from './logging.js';

/** One or more variables cannot be used; the message lists all of them. */
export class SettingsError extends Error {
  override readonly name = 'SettingsError';
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** Empty is unset: `PORT= npm start` should behave like `npm start`. */
export function setting<Schema extends z.ZodType>(schema: Schema) {
  return z.preprocess((value: unknown) => (value === '' ? undefined : value), schema);
}

export const integerText = (minimum: number, maximum: number) =>
  z
    .string()
    .regex(/^\d+$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.number().min(minimum, `must be at least ${minimum}`).max(maximum, `must be at most ${maximum}`));

/** What every process that serves has. */
export const SERVER_SETTINGS = {
  FAREBOX_HOST: setting(z.string().default('127.0.0.1')),
  LOG_LEVEL: setting(z.enum(LOG_LEVELS).default('info')),
};

export const portText = (port: number) => setting(integerText(0, 65_535).default(port));

export const postgresUrl = z.url({ protocol: /^postgres(ql)?$/, error: 'must be a postgres:// URL' });

/** Names a pool of workers: letters, digits, dots and dashes, as Kafka allows in a topic's name. */
export const poolText = z.string().regex(/^[a-z0-9.-]{1,40}$/, 'must be 1 to 40 of a-z, 0-9, dot and dash');

/** Keys that open administration; long enough that nobody guesses them. */
export const adminKeyText = z.string().min(24, 'must have at least 24 characters').max(200);

export type SettingsFault = { readonly variable: string; readonly message: string };

/**
 * Throws `SettingsError`. `faultsBetween` finds what is wrong with variables taken together: a schema's own checks of its whole do not run
 * while one of its fields is wrong.
 */
export function readEnvironment<Schema extends z.ZodType>(
  schema: Schema,
  environment: Environment,
  faultsBetween: (environment: Environment) => readonly SettingsFault[] = () => [],
): z.infer<Schema> {
  const parsed = schema.safeParse(environment);
  const own = parsed.success ? [] : parsed.error.issues.map(({ path, message }) => ({ variable: path.join('.'), message }));
  const faults = [...own, ...faultsBetween(environment)];
  if (parsed.success && faults.length === 0) return parsed.data;
  throw new SettingsError(
    `these settings cannot be used:\n${faults.map(({ variable, message }) => `  ${variable}: ${message}`).join('\n')}`,
  );
}
