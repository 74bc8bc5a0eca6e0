/** The embedded deployment's settings, from the environment alone. Every fault is reported at once, by the variable's name. */
import { z } from 'zod';
import type { LogLevel } from '../../platform/logging.js';
import {
  adminKeyText,
  type Environment,
  poolText,
  portText,
  postgresUrl,
  readEnvironment,
  SERVER_SETTINGS,
  setting,
} from '../../platform/settings.js';
import { PAYMENT_SETTINGS, type PaymentSettings, paymentSettingsOf } from '../api/payments/payment-settings.js';
import { TRANSPORT_SETTINGS, type Transport, transportOf } from '../api/plain-http.js';
import { SIGNING_SETTINGS, type SigningSettings } from '../api/verification/signing-settings.js';
import { ENGINE_SETTINGS, type EngineSettings, engineSettingsOf } from '../inference/engine-settings.js';

const SettingsSchema = z.object({
  ...SERVER_SETTINGS,
  ...ENGINE_SETTINGS,
  ...TRANSPORT_SETTINGS,
  PORT: portText(8080),
  FAREBOX_PRESET: setting(z.string().default('farebox')),
  FAREBOX_PUBLIC_URL: setting(z.url({ protocol: /^https?$/ }).optional()),
  DATABASE_URL: setting(postgresUrl.optional()),
  FAREBOX_ADMIN_KEY: setting(adminKeyText.optional()),
  FAREBOX_POOL: setting(poolText.optional()),
  ...SIGNING_SETTINGS,
  ...PAYMENT_SETTINGS,
});

export type Settings = EngineSettings & {
  readonly port: number;
  readonly host: string;
  readonly dataDirectory: string;
  readonly preset: string;
  readonly publicUrl: string | undefined;
  readonly transport: Transport;
  readonly databaseUrl: string | undefined;
  readonly adminKey: string | undefined;
  /** What receipts are signed with; a key is made where none is given. */
  readonly receipts: SigningSettings;
  readonly payments: PaymentSettings;
  /** The one pool that this machine is; all of the preset's by default. */
  readonly pool: string | undefined;
  readonly logLevel: LogLevel;
};

/** Throws `SettingsError`. */
export function readSettings(environment: Environment): Settings {
  const settings = readEnvironment(SettingsSchema, environment);
  return {
    ...engineSettingsOf(settings),
    port: settings.PORT,
    host: settings.FAREBOX_HOST,
    dataDirectory: settings.FAREBOX_DATA_DIR,
    preset: settings.FAREBOX_PRESET,
    publicUrl: settings.FAREBOX_PUBLIC_URL,
    transport: transportOf(settings),
    databaseUrl: settings.DATABASE_URL,
    adminKey: settings.FAREBOX_ADMIN_KEY,
    receipts: settings,
    payments: paymentSettingsOf(settings, 'local'),
    pool: settings.FAREBOX_POOL,
    logLevel: settings.LOG_LEVEL,
  };
}
