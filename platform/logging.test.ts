/** The logger's one promise beyond pino's: secrets do not reach it. */
import { spawnSync } from 'node:child_process';
import { expect, test } from '@jest/globals';
import { packageFile } from './package-root.js';

test('secrets are struck out at every level that callers use', () => {
  const script = `
    import { createLogger } from ${JSON.stringify(packageFile('dist/platform/logging.js').href)};
    const logger = createLogger({ level: 'info', name: 'test' });
    logger.info({ authorization: 'canary-1', headers: { authorization: 'canary-2', cookie: 'canary-3' }, request: { headers: { 'x-api-key': 'canary-4' } } }, 'hello');
    logger.info({ options: { connectionString: 'canary-5', password: 'canary-6' }, visible: 'yes' }, 'hello');`;
  const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  expect(stderr).toContain('"visible":"yes"');
  expect(stderr).not.toContain('canary');
});
