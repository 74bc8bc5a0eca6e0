/**
 * What can be known of the compose files without a Docker engine: that they give each process what it needs and nothing that it does not know,
 * and that nothing is reachable that should not be.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { DEFAULT_POOL } from '../../events/contract/index.js';
import { packageFile } from '../../platform/package-root.js';
import { readCompose, type Service, variablesIn, withDefaults } from './compose-file.js';
import { copiesOf, environmentOf, finalStage } from './image-file.js';
import { settingsOf } from './settings-names.js';

const FILES = ['docker/compose.yaml', 'docker/compose.arm.yaml'] as const;
const compose = readCompose('docker/compose.yaml');
const arm = readCompose('docker/compose.arm.yaml');
const services = Object.entries(compose.services);
const texts = FILES.map((file) => readFileSync(packageFile(file), 'utf8').replace(/^\s*#.*$/gm, ''));
const imageEnvironment = [...environmentOf(finalStage()).keys()];

/** Where each of Farebox's own processes reads its settings. */
const ENTRY_FILES: Readonly<Record<string, string>> = {
  api: 'services/api/main.ts',
  ledger: 'services/ledger/main.ts',
  projector: 'services/projector/main.ts',
  inference: 'services/inference/main.ts',
  topics: 'services/standalone/commands/topics.ts',
};

/** Nothing is safe without these, so nothing starts without them. */
const NEEDED_SECRETS = ['POSTGRES_PASSWORD', 'FAREBOX_LEDGER_SECRET', 'FAREBOX_MEDIA_SECRET', 'FAREBOX_ADMIN_KEY'];
/** Of what an operator may do without, and what is off while they are empty: the process refuses a provider whose secret is missing. */
const OPTIONAL_SECRETS = ['FAREBOX_RECEIPT_KEY', 'PAYSTACK_SECRET_KEY', 'STRIPE_SECRET_KEY', 'STRIPE_WEBHOOK_SECRET'];

/** Settings that a process takes and the compose files leave alone, and why. */
const LEFT_TO_OVERRIDES: readonly RegExp[] = [
  // The image says them.
  /^(FAREBOX_HOST|FAREBOX_DATA_DIR)$/,
  // For brokers and event stores elsewhere, with certificates that have to be mounted.
  /^(KAFKA_TLS|KAFKA_SASL|KAFKA_REPLICATION_FACTOR)/,
  /^ESDB_(USER|PASSWORD|TLS|USER_CERT|USER_KEY)/,
  // Each instance of a scaled service would need another one.
  /^(FAREBOX_LEDGER_URL|FAREBOX_INTERNAL_URL)$/,
  // Where something is mounted.
  /^(FAREBOX_MODEL_DIR|FAREBOX_TSM_PATH)$/,
];

const isSecret = (name: string) => /SECRET|PASSWORD|_KEY$|TOKEN/.test(name);
const endsByItself = (service: Service) => service.healthcheck?.disable === true;

describe('every service', () => {
  test('is there', () => {
    expect(services.map(([name]) => name).sort()).toEqual(
      ['api', 'eventstore', 'inference', 'kafka', 'ledger', 'postgres', 'projector', 'topics'].sort(),
    );
  });

  test.each(services)('%s has a health check unless it ends by itself, a restart policy and a bound on its memory', (_name, service) => {
    if (endsByItself(service)) expect(service.restart).toMatch(/^on-failure:\d+$/);
    else {
      expect(service.restart).toBe('unless-stopped');
      expect(service.healthcheck?.test?.[0]).toMatch(/^CMD(-SHELL)?$/);
    }
    expect(service.deploy?.resources.limits.memory).toBeDefined();
  });

  test.each(services)('%s has an image with a fixed version', (_name, service) => {
    expect(withDefaults(service.image ?? '', '')).toMatch(/^[a-z0-9/-]+:[a-z0-9.-]+$/);
    expect(withDefaults(service.image ?? '', '')).not.toMatch(/latest/);
  });

  test.each(services)('%s waits for services that exist, in states that they reach', (_name, service) => {
    for (const [other, { condition }] of Object.entries(service.depends_on)) {
      const target = compose.services[other];
      expect(target).toBeDefined();
      expect(condition).toBe(target !== undefined && endsByItself(target) ? 'service_completed_successfully' : 'service_healthy');
    }
  });

  test.each(services)('%s publishes nothing beyond this machine', (_name, service) => {
    for (const port of service.ports) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  test.each(services)('%s uses networks and volumes that are declared', (_name, service) => {
    expect(service.networks.length).toBeGreaterThan(0);
    for (const network of service.networks) expect(Object.keys(compose.networks)).toContain(network);
    for (const volume of service.volumes) expect(Object.keys(compose.volumes)).toContain(volume.split(':')[0]);
  });
});

describe('what has no password', () => {
  test.each(['kafka', 'eventstore'])('%s is on internal networks only and published nowhere', (name) => {
    const service = compose.services[name];
    expect(service?.ports).toEqual([]);
    expect(service?.networks.filter((network) => compose.networks[network]?.internal !== true)).toEqual([]);
  });

  test('the event store is reached by the ledger alone', () => {
    const neighbours = services.filter(([, service]) => service.networks.includes('truth')).map(([name]) => name);
    expect(neighbours.sort()).toEqual(['eventstore', 'ledger']);
  });
});

describe.each(Object.entries(ENTRY_FILES))('%s', (name, entryFile) => {
  const service = compose.services[name];
  const { known, required } = settingsOf(entryFile);
  const given = { ...service?.environment, ...arm.services[name]?.environment };

  test('is given every setting that it cannot start without', () => {
    expect(required).toContain('KAFKA_BROKERS');
    expect([...required].filter((one) => given[one] === undefined && !imageEnvironment.includes(one))).toEqual([]);
  });

  test('is given no setting that it does not know', () => {
    expect(known.size).toBeGreaterThan(3);
    expect(Object.keys(given).filter((one) => !known.has(one))).toEqual([]);
  });

  test('can be given every setting by the environment file, but for those that need an override', () => {
    const missing = [...known].filter((one) => given[one] === undefined && !LEFT_TO_OVERRIDES.some((pattern) => pattern.test(one)));
    expect(missing.filter((one) => !imageEnvironment.includes(one))).toEqual([]);
  });

  test('runs the one image, built from this repository', () => {
    expect(service?.image).toBe(compose.services['api']?.image);
    expect(service?.build).toEqual({ context: '..', dockerfile: 'docker/Dockerfile' });
  });

  test('is checked on the port that it listens on', () => {
    if (service !== undefined && endsByItself(service)) return expect(service.ports).toEqual([]);
    expect(given['PORT']).toBe(environmentOf(finalStage()).get('PORT'));
    const script = service?.healthcheck?.test?.at(-1) ?? '';
    expect(copiesOf(finalStage()).flatMap(({ sources }) => sources)).toContain(script);
  });

  test('runs a command that the build makes', () => {
    const [program, ...words] = service?.command ?? [];
    if (program === 'farebox') {
      const usage = readFileSync(packageFile('services/standalone/cli.ts'), 'utf8');
      return expect(usage).toMatch(new RegExp(`^ {2}${words.join(' ')} `, 'm'));
    }
    expect(program).toBe('node');
    expect(words).toEqual([`dist/${entryFile.replace(/\.ts$/, '.js')}`]);
    expect(existsSync(packageFile(words[0] ?? ''))).toBe(true);
  });
});

describe('the four kinds of process', () => {
  test('know these settings, so that the reading of the sources can be believed', () => {
    expect([...settingsOf('services/api/main.ts').required].sort()).toEqual(
      ['DATABASE_URL', 'FAREBOX_ADMIN_KEY', 'FAREBOX_LEDGER_SECRET', 'KAFKA_BROKERS', 'LEDGER_URLS'].sort(),
    );
    expect([...settingsOf('services/ledger/main.ts').known]).toEqual(
      expect.arrayContaining(['ESDB_URL', 'PORT', 'LOG_LEVEL', 'KAFKA_TLS']),
    );
    expect([...settingsOf('services/inference/main.ts').known]).toEqual(expect.arrayContaining(['FAREBOX_ENGINE_THREADS', 'FAREBOX_POOL']));
  });

  test('the pool that is served is among those whose topics are made', () => {
    const pools = withDefaults(compose.services['topics']?.environment['FAREBOX_POOLS'] ?? '', '').split(',');
    expect(pools).toEqual([DEFAULT_POOL]);
    expect(pools).toContain(withDefaults(compose.services['inference']?.environment['FAREBOX_POOL'] ?? '', ''));
  });

  test('addresses name services on a network that both share', () => {
    for (const [name, service] of services) {
      for (const [, host = ''] of Object.values(service.environment)
        .join(' ')
        .matchAll(/(?:\/\/|@)([a-z]+):\d+|\b(?:kafka)(?=:9092)/g)) {
        if (host === '') continue;
        const target = compose.services[host];
        if (name === host || host === 'localhost') continue;
        expect({ name, host, isKnown: target !== undefined }).toEqual({ name, host, isKnown: true });
        expect({ name, host, shared: service.networks.some((network) => target?.networks.includes(network)) }).toEqual({
          name,
          host,
          shared: true,
        });
      }
    }
  });
});

describe('secrets', () => {
  const variables = texts.flatMap(variablesIn);
  const example = readFileSync(packageFile('docker/.env.example'), 'utf8');

  test('have no default: what is needed stops the start with a reason, what is optional is empty', () => {
    const secrets = variables.filter(({ name }) => isSecret(name));
    expect(new Set(secrets.map(({ name }) => name))).toEqual(new Set([...NEEDED_SECRETS, ...OPTIONAL_SECRETS]));
    const isSafe = ({ name, rest }: { name: string; rest: string }) =>
      OPTIONAL_SECRETS.includes(name) ? rest === ':-' : /^:\?.+/.test(rest);
    expect(secrets.filter((secret) => !isSafe(secret))).toEqual([]);
  });

  test('that are optional are optional to the process, and reach it alone that uses them', () => {
    const holders = services.flatMap(([name, { environment }]) =>
      Object.keys(environment).flatMap((one) => (OPTIONAL_SECRETS.includes(one) ? [`${name} ${one}`] : [])),
    );
    expect(holders.sort()).toEqual(OPTIONAL_SECRETS.map((one) => `api ${one}`).sort());
    const { known, required } = settingsOf('services/api/main.ts');
    expect(OPTIONAL_SECRETS.filter((one) => !known.has(one) || required.has(one))).toEqual([]);
  });

  test('are written nowhere', () => {
    const values = [compose, arm].flatMap((one) => Object.values(one.services).flatMap(({ environment }) => Object.entries(environment)));
    const isGiven = (name: string, value: string) =>
      OPTIONAL_SECRETS.includes(name) ? value === `\${${name}:-}` : /^\$\{[A-Z_]+:\?[^}]+\}$/.test(value);
    const written = values.filter(([name, value]) => isSecret(name) && !isGiven(name, value));
    expect(written).toEqual([]);
    expect(values.filter(([, value]) => /:\/\/[^/@]*:(?!\$\{)[^/@]*@/.test(value))).toEqual([]);
  });

  test('and every other variable are in the example, the secrets empty', () => {
    const named = new Map([...example.matchAll(/^#?([A-Z][A-Z0-9_]+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]));
    const isVersion = (name: string) => name.endsWith('_VERSION');
    expect([...new Set(variables.map(({ name }) => name))].filter((name) => !named.has(name) && !isVersion(name))).toEqual([]);
    expect([...named].filter(([name, value]) => isSecret(name) && value !== '')).toEqual([]);
    expect([...named.keys()].filter((name) => !variables.some((variable) => variable.name === name))).toEqual([]);
  });

  test('stay out of version control', () => {
    expect(readFileSync(packageFile('docker/.gitignore'), 'utf8').split('\n')).toContain('.env');
  });
});

describe('the overlay for ARM', () => {
  test('changes the worker alone, and makes it an arm64 one with a model of its own', () => {
    expect(Object.keys(arm.services)).toEqual(['inference']);
    expect(arm.services['inference']?.['platform']).toBe('linux/arm64');
    expect(arm.services['inference']?.environment['FAREBOX_ENGINE']).toBe('llama');
    expect(arm.services['inference']?.volumes.map((volume) => withDefaults(volume, ''))).toEqual(['models:/var/lib/farebox/models']);
  });
});

/** Compose checks its own schema without an engine, where the plugin is installed. */
const hasCompose = spawnSync('docker', ['compose', 'version']).status === 0;
if (!hasCompose) process.stderr.write('\nTHE COMPOSE FILES ARE NOT CHECKED BY COMPOSE ITSELF: there is no `docker compose` here.\n\n');

(hasCompose ? describe : describe.skip)('docker compose itself', () => {
  const filled = {
    ...Object.fromEntries(NEEDED_SECRETS.map((name) => [name, 'given'])),
    ...{ FAREBOX_ENGINE_THREADS: '4', FAREBOX_INFERENCE_CPUS: '5', FAREBOX_INFERENCE_MEMORY: '6G' },
  };
  const config = (files: readonly string[], environment: Readonly<Record<string, string>>) =>
    spawnSync(
      'docker',
      ['compose', '--env-file', '/dev/null', ...files.flatMap((file) => ['-f', fileURLToPath(packageFile(file))]), 'config', '--quiet'],
      { env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...environment }, encoding: 'utf8' },
    );

  test.each([[[FILES[0]]], [[...FILES]]])('accepts %s', (files) => {
    expect(config(files, filled)).toMatchObject({ status: 0, stderr: '' });
  });

  test('refuses to start without secrets', () => {
    const { status, stderr } = config([FILES[0]], {});
    expect(status).not.toBe(0);
    expect(stderr).toContain('see docker/.env.example');
  });
});
