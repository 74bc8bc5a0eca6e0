/** What the environment says is what is used, and what is wrong in it is named. */
import { expect, test } from '@jest/globals';
import { SettingsError } from '../../../platform/settings.js';
import { kafkaSettingsFromEnvironment } from './kafka-settings.js';

const read = (environment: NodeJS.ProcessEnv) => kafkaSettingsFromEnvironment(environment, 'farebox');

test('brokers, TLS and SASL are read', () => {
  expect(read({ KAFKA_BROKERS: 'a:9092, b:9093 ,[::1]:1' })).toEqual({ brokers: ['a:9092', 'b:9093', '[::1]:1'], clientId: 'farebox' });
  const sasl = { KAFKA_SASL_MECHANISM: 'scram-sha-512', KAFKA_SASL_USERNAME: 'u', KAFKA_SASL_PASSWORD: 'p' };
  expect(read({ KAFKA_BROKERS: 'a:1', KAFKA_TLS: 'true', ...sasl })).toEqual({
    brokers: ['a:1'],
    clientId: 'farebox',
    tls: true,
    sasl: { mechanism: 'scram-sha-512', username: 'u', password: 'p' },
  });
});

test.each([
  [{}, /KAFKA_BROKERS: must name at least one host:port/],
  [{ KAFKA_BROKERS: ' , ' }, /KAFKA_BROKERS: must name at least one host:port/],
  [{ KAFKA_BROKERS: 'a:1', KAFKA_TLS: 'true', KAFKA_TLS_CA_FILE: '/no/such.pem' }, /KAFKA_TLS_CA_FILE: cannot be read: ENOENT/],
  [{ KAFKA_BROKERS: 'no-port' }, /KAFKA_BROKERS: lists no-port, which is not host:port/],
  [{ KAFKA_BROKERS: 'a:1', KAFKA_TLS: 'yes' }, /KAFKA_TLS: must be true or false/],
  [{ KAFKA_BROKERS: 'a:1', KAFKA_TLS_CA_FILE: '/ca.pem' }, /KAFKA_TLS_CA_FILE: is set, but KAFKA_TLS is not true/],
  [{ KAFKA_BROKERS: 'a:1', KAFKA_SASL_MECHANISM: 'gssapi' }, /one of plain, scram-sha-256, scram-sha-512/],
  [{ KAFKA_BROKERS: 'a:1', KAFKA_SASL_MECHANISM: 'plain', KAFKA_SASL_USERNAME: 'u' }, /KAFKA_SASL_PASSWORD/],
])('%j is refused', (environment, message) => {
  expect(() => read(environment)).toThrow(message);
});

test('everything that is wrong is named at once', () => {
  const environment = {
    KAFKA_BROKERS: 'no-port',
    KAFKA_TLS: 'yes',
    KAFKA_TLS_KEY_FILE: '/no/such.pem',
    KAFKA_SASL_MECHANISM: 'gssapi',
    KAFKA_SASL_USERNAME: 'u',
  };
  const named = (text: string) => [...new Set(text.match(/^ {2}KAFKA_\w+/gm))].map((line) => line.trim());
  const refusal = (() => {
    try {
      return read(environment);
    } catch (error) {
      return error;
    }
  })();
  expect(refusal).toBeInstanceOf(SettingsError);
  expect(named((refusal as Error).message)).toEqual([
    'KAFKA_BROKERS',
    'KAFKA_TLS',
    'KAFKA_TLS_KEY_FILE',
    'KAFKA_SASL_MECHANISM',
    'KAFKA_SASL_PASSWORD',
  ]);
});

test('an empty variable is an unset one', () => {
  const environment = { KAFKA_BROKERS: 'a:1', KAFKA_TLS: '', KAFKA_TLS_CA_FILE: '', KAFKA_SASL_MECHANISM: '', KAFKA_SASL_USERNAME: '' };
  expect(read(environment)).toEqual({ brokers: ['a:1'], clientId: 'farebox' });
});
