/** Every example of the quickstarts, as a reader runs it: in a shell, with Node, with Python, against the default server and its demo key. */
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { packageFile } from '../../platform/package-root.js';
import { canRunPython, pythonOutput } from '../conformance/python-sdk.js';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { type Example, examplesOf } from './examples.js';

const run = promisify(execFile);
const hasPython = await canRunPython();
const FILES = readdirSync(packageFile('docs'))
  .filter((name) => name.startsWith('quickstart-'))
  .map((name) => `docs/${name}`);
const EXAMPLE_TIMEOUT_MS = 60_000;

let deployment: EmbeddedDeployment;
let environment: Readonly<Record<string, string>>;
beforeAll(async () => {
  deployment = await createEmbeddedDeployment({ environment: { FAREBOX_ENGINE: 'tiny' } });
  await deployment.start();
  environment = { FAREBOX_URL: deployment.baseUrl, FAREBOX_KEY: deployment.welcome.demoKey };
}, 120_000);
afterAll(() => deployment?.dispose(), 120_000);

async function outputOf({ language, code }: Example): Promise<string> {
  if (language === 'python') return pythonOutput(code, environment);
  // Modules of the examples are those of this checkout.
  const options = { env: { ...process.env, ...environment }, timeout: EXAMPLE_TIMEOUT_MS, cwd: fileURLToPath(packageFile('.')) };
  const [command, ...parameters] = language === 'sh' ? ['/bin/sh', '-e', '-c', code] : ['node', '--input-type=module', '-e', code];
  return (await run(command as string, parameters, options)).stdout;
}

test('there is a quickstart for each way of use', () => {
  const wanted = ['curl', 'python', 'node', 'streaming', 'consumer-billing', 'idempotency', 'errors'];
  expect([...FILES].sort()).toEqual(wanted.map((name) => `docs/quickstart-${name}.md`).sort());
});

for (const file of FILES) {
  describe(file, () => {
    for (const example of examplesOf(file)) {
      const ask = example.language === 'python' && !hasPython ? test.skip : test;
      ask(`line ${example.line}, ${example.language}`, async () => expect(await outputOf(example)).toMatch(example.prints), 120_000);
    }
  });
}
