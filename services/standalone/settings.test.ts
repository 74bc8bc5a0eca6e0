/** Settings: defaults, and every fault at once. */
import { expect, test } from '@jest/globals';
import { SettingsError } from '../../platform/settings.js';
import { readSettings } from './settings.js';

test('an empty environment gives the documented defaults', () => {
  expect(readSettings({})).toMatchObject({
    port: 8080,
    dataDirectory: '.farebox',
    preset: 'farebox',
    modelDirectory: '.farebox/models',
    engine: 'tiny',
    databaseUrl: undefined,
    adminKey: undefined,
    logLevel: 'info',
  });
});

test('an empty variable counts as unset', () => {
  expect(readSettings({ PORT: '', DATABASE_URL: '', FAREBOX_ADMIN_KEY: '' })).toMatchObject({ port: 8080, databaseUrl: undefined });
});

test('all faults are reported at once, each by its variable', () => {
  const faulty = { PORT: '99999', FAREBOX_ENGINE: 'steam', DATABASE_URL: 'mysql://x', FAREBOX_ADMIN_KEY: 'short', LOG_LEVEL: 'loud' };
  const report = () => readSettings(faulty);
  expect(report).toThrow(SettingsError);
  for (const name of Object.keys(faulty)) expect(report).toThrow(`  ${name}: `);
});
