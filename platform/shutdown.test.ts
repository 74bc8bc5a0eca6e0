/** Shutdown: in reverse, completely, once. */
import { expect, test } from '@jest/globals';
import { pino } from 'pino';
import { createShutdown } from './shutdown.js';

const logger = pino({ level: 'silent' });

test('resources are released in reverse, also when some fail or hang', async () => {
  const released: string[] = [];
  const shutdown = createShutdown(logger, 20);
  shutdown.push('first', () => released.push('first'));
  shutdown.push('hanging', () => new Promise(() => {}));
  shutdown.push('throwing', () => {
    throw new Error('no');
  });
  shutdown.push('last', async () => released.push('last'));
  await Promise.all([shutdown.run(), shutdown.run()]);
  expect(released).toEqual(['last', 'first']);
});
