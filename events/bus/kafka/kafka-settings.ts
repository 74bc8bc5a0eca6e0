/** How a cluster is reached: what an operator may set, and the client settings that are the same everywhere, each with its reason. */
import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import { Kafka, type LogEntry, logLevel, type RetryOptions, type SASLOptions } from 'kafkajs';
import type { Logger } from 'pino';
import { z } from 'zod';
import { type Environment, readEnvironment, type SettingsFault, setting } from '../../../platform/settings.js';
import type { ConnectionGate } from './connection-gate.js';

export const SASL_MECHANISMS = ['plain', 'scram-sha-256', 'scram-sha-512'] as const;

export type KafkaSettings = {
  /** `host:port` of brokers to begin with; the others are learnt from them. */
  readonly brokers: readonly string[];
  /** Shows in the broker's logs and quotas. */
  readonly clientId: string;
  /** `true` trusts the system's authorities; an object names others, or a client certificate. */
  readonly tls?: boolean | Pick<ConnectionOptions, 'ca' | 'cert' | 'key' | 'rejectUnauthorized' | 'servername'>;
  readonly sasl?: { readonly mechanism: (typeof SASL_MECHANISMS)[number]; readonly username: string; readonly password: string };
};

/** A dead host does not answer at all; a live one does so in a round trip or two, TLS included. */
const CONNECTION_TIMEOUT_MS = 3_000;
const AUTHENTICATION_TIMEOUT_MS = 5_000;

/** Longer than any healthy answer, and short enough that a request is tried again before the watchdog of a publication gives up. */
export const REQUEST_TIMEOUT_MS = 5_000;

/** Inside the client, failures are repeated quickly and not for long: supervision outside of it knows when to begin anew. */
export const QUICK_RETRIES: RetryOptions = { initialRetryTime: 50, maxRetryTime: 500, factor: 0.2, multiplier: 2, retries: 4 };

/** A client whose every connection goes through `gate`, so that it can be cut off for good. */
export function kafkaClient(settings: KafkaSettings, gate: ConnectionGate, logger: Logger): Kafka {
  return new Kafka({
    brokers: [...settings.brokers],
    clientId: settings.clientId,
    ...(settings.tls === undefined ? {} : { ssl: settings.tls }),
    // A copy: the library keeps what it makes of the credentials in the object it is given.
    ...(settings.sasl === undefined ? {} : { sasl: { ...settings.sasl } as SASLOptions }),
    connectionTimeout: CONNECTION_TIMEOUT_MS,
    authenticationTimeout: AUTHENTICATION_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // Without it a request to a frozen broker would wait forever.
    enforceRequestTimeout: true,
    retry: QUICK_RETRIES,
    socketFactory: gate.socketFactory,
    logLevel: logLevel.WARN,
    logCreator: () => (entry) => logTo(logger, entry),
  });
}

/** The library calls each failed attempt an error, and complains of clients that were cut off on purpose; whoever gives up reports it. */
function logTo(logger: Logger, { level, namespace, log }: LogEntry): void {
  const { message, timestamp: _, ...facts } = log;
  if (level === logLevel.ERROR) logger.debug({ kafka: namespace, ...facts }, message);
  else logger.trace({ kafka: namespace, ...facts }, message);
}

const BROKER = /^[^:\s]+:\d+$|^\[[0-9a-f:]+\]:\d+$/i;

const brokersText = setting(
  z
    .string('must name at least one host:port')
    .transform((text) => text.split(',').flatMap((broker) => broker.trim() || []))
    .superRefine((brokers, context) => {
      if (brokers.length === 0) context.addIssue('must name at least one host:port');
      const malformed = brokers.find((broker) => !BROKER.test(broker));
      if (malformed !== undefined) context.addIssue(`lists ${malformed}, which is not host:port`);
    }),
);

/** A path in, the file's text out. */
const pemFile = setting(
  z
    .string()
    .transform((path, context) => {
      try {
        return readFileSync(path, 'utf8');
      } catch (error) {
        context.addIssue(`cannot be read: ${(error as Error).message}`);
        return z.NEVER;
      }
    })
    .optional(),
);

const TLS_FILES = { KAFKA_TLS_CA_FILE: pemFile, KAFKA_TLS_CERT_FILE: pemFile, KAFKA_TLS_KEY_FILE: pemFile };

const SettingsSchema = z.object({
  KAFKA_BROKERS: brokersText,
  KAFKA_TLS: setting(z.enum(['true', 'false'], 'must be true or false').default('false')),
  ...TLS_FILES,
  KAFKA_SASL_MECHANISM: setting(z.enum(SASL_MECHANISMS, `must be one of ${SASL_MECHANISMS.join(', ')}`).optional()),
  KAFKA_SASL_USERNAME: setting(z.string().optional()),
  KAFKA_SASL_PASSWORD: setting(z.string().optional()),
});
type Settings = z.infer<typeof SettingsSchema>;

/** What a variable asks of others. Told beside what is wrong with each by itself, so that one start shows everything. */
function faultsBetween(given: Environment): SettingsFault[] {
  const isSet = (variable: string) => given[variable] !== undefined && given[variable] !== '';
  const faults: SettingsFault[] = [];
  if (given['KAFKA_TLS'] !== 'true') {
    for (const variable of Object.keys(TLS_FILES).filter(isSet)) faults.push({ variable, message: 'is set, but KAFKA_TLS is not true' });
  }
  if (isSet('KAFKA_SASL_MECHANISM')) {
    for (const variable of ['KAFKA_SASL_USERNAME', 'KAFKA_SASL_PASSWORD'].filter((name) => !isSet(name))) {
      faults.push({ variable, message: 'is needed by KAFKA_SASL_MECHANISM' });
    }
  }
  return faults;
}

/**
 * Reads `KAFKA_BROKERS` (comma-separated), `KAFKA_TLS` (`true`), `KAFKA_TLS_CA_FILE`, `KAFKA_TLS_CERT_FILE`, `KAFKA_TLS_KEY_FILE`,
 * `KAFKA_SASL_MECHANISM`, `KAFKA_SASL_USERNAME` and `KAFKA_SASL_PASSWORD`. Throws `SettingsError`, naming all that are missing or wrong.
 */
export function kafkaSettingsFromEnvironment(given: Environment, clientId: string): KafkaSettings {
  const settings = readEnvironment(SettingsSchema, given, faultsBetween);
  const tls = tlsOf(settings);
  const sasl = saslOf(settings);
  return { brokers: settings.KAFKA_BROKERS, clientId, ...(tls === undefined ? {} : { tls }), ...(sasl === undefined ? {} : { sasl }) };
}

function tlsOf(settings: Settings): KafkaSettings['tls'] {
  if (settings.KAFKA_TLS === 'false') return undefined;
  const files = { ca: settings.KAFKA_TLS_CA_FILE, cert: settings.KAFKA_TLS_CERT_FILE, key: settings.KAFKA_TLS_KEY_FILE };
  const given = Object.entries(files).filter(([, text]) => text !== undefined);
  return given.length === 0 ? true : Object.fromEntries(given);
}

function saslOf(settings: Settings): KafkaSettings['sasl'] {
  const { KAFKA_SASL_MECHANISM: mechanism, KAFKA_SASL_USERNAME: username, KAFKA_SASL_PASSWORD: password } = settings;
  if (mechanism === undefined || username === undefined || password === undefined) return undefined;
  return { mechanism, username, password };
}
