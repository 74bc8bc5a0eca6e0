/** How a cluster is reached: what an operator may set, and the client settings that are the same everywhere, each with its reason. */
import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import { Kafka, type LogEntry, logLevel, type RetryOptions, type SASLOptions } from 'kafkajs';
import type { Logger } from 'pino';
import type { Environment } from '../../../platform/settings.js';
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

/**
 * Reads `KAFKA_BROKERS` (comma-separated), `KAFKA_TLS` (`true`), `KAFKA_TLS_CA_FILE`, `KAFKA_TLS_CERT_FILE`, `KAFKA_TLS_KEY_FILE`,
 * `KAFKA_SASL_MECHANISM`, `KAFKA_SASL_USERNAME` and `KAFKA_SASL_PASSWORD`. Throws, naming the variable, when one is missing or wrong.
 */
export function kafkaSettingsFromEnvironment(given: Environment, clientId: string): KafkaSettings {
  // An empty variable is an unset one.
  const environment = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== ''));
  const brokers = (environment['KAFKA_BROKERS'] ?? '')
    .split(',')
    .map((broker) => broker.trim())
    .filter((broker) => broker !== '');
  if (brokers.length === 0) throw new Error('KAFKA_BROKERS must name at least one host:port');
  const malformed = brokers.find((broker) => !/^[^:\s]+:\d+$|^\[[0-9a-f:]+\]:\d+$/i.test(broker));
  if (malformed !== undefined) throw new Error(`KAFKA_BROKERS lists ${malformed}, which is not host:port`);
  const tls = tlsOf(environment);
  const sasl = saslOf(environment);
  return { brokers, clientId, ...(tls === undefined ? {} : { tls }), ...(sasl === undefined ? {} : { sasl }) };
}

function tlsOf(environment: Environment): KafkaSettings['tls'] {
  const isOn = environment['KAFKA_TLS'];
  if (isOn !== undefined && isOn !== 'true' && isOn !== 'false') throw new Error('KAFKA_TLS must be true or false');
  const files = { ca: 'KAFKA_TLS_CA_FILE', cert: 'KAFKA_TLS_CERT_FILE', key: 'KAFKA_TLS_KEY_FILE' };
  const given = Object.entries(files).filter(([, variable]) => environment[variable] !== undefined);
  if (isOn !== 'true') {
    if (given.length > 0) throw new Error(`${given[0]?.[1]} is set, but KAFKA_TLS is not true`);
    return undefined;
  }
  if (given.length === 0) return true;
  return Object.fromEntries(given.map(([option, variable]) => [option, readFileSync(environment[variable] as string, 'utf8')]));
}

function saslOf(environment: Environment): KafkaSettings['sasl'] {
  const mechanism = environment['KAFKA_SASL_MECHANISM'];
  if (mechanism === undefined) return undefined;
  const known = SASL_MECHANISMS.find((one) => one === mechanism);
  if (known === undefined) throw new Error(`KAFKA_SASL_MECHANISM must be one of ${SASL_MECHANISMS.join(', ')}`);
  const username = environment['KAFKA_SASL_USERNAME'];
  const password = environment['KAFKA_SASL_PASSWORD'];
  if (username === undefined || password === undefined)
    throw new Error('KAFKA_SASL_MECHANISM needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD');
  return { mechanism: known, username, password };
}
