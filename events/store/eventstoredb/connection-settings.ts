/** How an EventStoreDB is reached, from the environment. */
import { z } from 'zod';
import { type Environment, readEnvironment, SettingsError, setting } from '../../../platform/settings.js';
import type { EventStoreDbConnection } from './connection-string.js';

const text = setting(z.string().optional());

const SettingsSchema = z.object({
  ESDB_URL: setting(
    z
      .string()
      .regex(/^esdb(\+discover)?:\/\//, 'must be an esdb:// connection string')
      .optional(),
  ),
  ESDB_USER: text,
  ESDB_PASSWORD: text,
  ESDB_TLS_CA_FILE: text,
  ESDB_USER_CERT_FILE: text,
  ESDB_USER_KEY_FILE: text,
});

/** `null` where `ESDB_URL` is not set. Throws `SettingsError` for settings that do not go together. */
export function eventStoreDbFromEnvironment(environment: Environment): EventStoreDbConnection | null {
  const settings = readEnvironment(SettingsSchema, environment);
  if (settings.ESDB_URL === undefined) return null;
  const { ESDB_USER: name, ESDB_PASSWORD: password, ESDB_USER_CERT_FILE: certFile, ESDB_USER_KEY_FILE: keyFile } = settings;
  if ((name === undefined) !== (password === undefined)) throw new SettingsError('ESDB_USER and ESDB_PASSWORD go together');
  if ((certFile === undefined) !== (keyFile === undefined))
    throw new SettingsError('ESDB_USER_CERT_FILE and ESDB_USER_KEY_FILE go together');
  return {
    connectionString: settings.ESDB_URL,
    ...(name === undefined || password === undefined ? {} : { user: { name, password } }),
    ...(settings.ESDB_TLS_CA_FILE === undefined ? {} : { tlsCaFile: settings.ESDB_TLS_CA_FILE }),
    ...(certFile === undefined || keyFile === undefined ? {} : { userCertificate: { certFile, keyFile } }),
  };
}
