/** Connection settings reach the client, and those that it would ignore are refused. */
import { describe, expect, test } from '@jest/globals';
import { connectionStringOf, type EventStoreDbConnection } from './connection-string.js';

describe('connection string', () => {
  test.each<[string, EventStoreDbConnection, string]>([
    ['one node', { connectionString: 'esdb://localhost:2113?tls=false' }, 'esdb://localhost:2113?tls=false'],
    [
      'a cluster with a user',
      { connectionString: 'esdb+discover://nodes:2113', user: { name: 'farebox', password: 'a:b@c/é' } },
      'esdb+discover://farebox:a%3Ab%40c%2F%C3%A9@nodes:2113',
    ],
    [
      'an authority beside other settings',
      { connectionString: 'esdb://a:1,b:2?nodePreference=leader', tlsCaFile: '/etc/ca file.pem' },
      'esdb://a:1,b:2?nodePreference=leader&tlsCAFile=%2Fetc%2Fca%20file.pem',
    ],
    [
      'a user certificate',
      { connectionString: 'esdb://a:1', userCertificate: { certFile: 'user.crt', keyFile: 'user.key' } },
      'esdb://a:1?userCertFile=user.crt&userKeyFile=user.key',
    ],
  ])('%s', (_name, connection, expected) => {
    expect(connectionStringOf(connection)).toBe(expected);
  });

  test.each<[string, EventStoreDbConnection]>([
    ['another protocol', { connectionString: 'http://localhost:2113' }],
    ['conflicts that are returned', { connectionString: 'esdb://a:1?throwOnAppendFailure=false' }],
    ['the same in another spelling', { connectionString: 'esdb://a:1?tls=true&throw-on-append-failure=false' }],
    ['a user without TLS', { connectionString: 'esdb://a:1?tls=false', user: { name: 'farebox', password: 'x' } }],
    ['a certificate without TLS', { connectionString: 'esdb://a:1?tls=false', userCertificate: { certFile: 'c', keyFile: 'k' } }],
    ['two users', { connectionString: 'esdb://admin:changeit@a:1', user: { name: 'farebox', password: 'x' } }],
  ])('%s is refused', (_name, connection) => {
    expect(() => connectionStringOf(connection)).toThrow(RangeError);
  });
});
