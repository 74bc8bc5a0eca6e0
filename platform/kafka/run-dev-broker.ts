/**
 * Starts a development broker and keeps it until SIGINT or SIGTERM:
 *
 *     node dist/platform/kafka/run-dev-broker.js [--version 3.9.2] [--directory .farebox/kafka]
 *
 * The first line on standard output is `KAFKA_BROKERS=host:port`, fit for an environment file.
 */
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { onTerminationSignal } from '../shutdown.js';
import { DevBrokerError, KAFKA_4_VERSION, startDevBroker } from './dev-broker.js';

const { values } = parseArgs({
  options: { version: { type: 'string', default: KAFKA_4_VERSION }, directory: { type: 'string', default: '.farebox/kafka' } },
});

try {
  const broker = await startDevBroker({ ...values, logger: pino({ level: 'info' }, pino.destination(2)) });
  process.stdout.write(`KAFKA_BROKERS=${broker.brokers.join(',')}\n`);
  onTerminationSignal(() => broker.stop());
  // Nothing else keeps this process alive once the broker is up.
  setInterval(() => {}, 2 ** 30);
} catch (error) {
  if (!(error instanceof DevBrokerError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
