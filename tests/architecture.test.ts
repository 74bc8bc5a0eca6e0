/** The import rules of docs/architecture.md, enforced on the sources: who may know whom. */
import { readdirSync, readFileSync } from 'node:fs';
import { posix, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { PACKAGE_ROOT } from '../platform/package-root.js';

type Import = { readonly from: string; readonly to: string };

const ROOT = fileURLToPath(PACKAGE_ROOT);
const SOURCE_FOLDERS = ['events', 'platform', 'presets', 'services'];
const IMPORT_PATTERN =
  /(?:^|\n)\s*(?:import|export)\b[^'"`;]*?from\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)|(?:^|\n)import\s+['"]([^'"]+)['"]/g;

function sourceFiles(folder: string): string[] {
  return readdirSync(`${ROOT}${folder}`, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => relative(ROOT, `${entry.parentPath}/${entry.name}`).split(sep).join('/'));
}

function importsOf(file: string): Import[] {
  const text = readFileSync(`${ROOT}${file}`, 'utf8');
  return [...text.matchAll(IMPORT_PATTERN)].map((match) => {
    const specifier = match[1] ?? match[2] ?? match[3] ?? '';
    const to = specifier.startsWith('.') ? posix.join(posix.dirname(file), specifier).replace(/\.js$/, '.ts') : specifier;
    return { from: file, to };
  });
}

const isTestCode = (file: string) => /\.test\.ts$|-contract\.ts$|\/testing\//.test(file);
const files = SOURCE_FOLDERS.flatMap(sourceFiles);
const production = files.filter((file) => !isTestCode(file));
const imports = production.flatMap(importsOf);
const isInside = (folder: string) => (path: string) => path === folder || path.startsWith(`${folder}/`);

function offenders(from: (file: string) => boolean, isAllowed: (to: string, from: string) => boolean): string[] {
  return imports.filter((edge) => from(edge.from) && !isAllowed(edge.to, edge.from)).map((edge) => `${edge.from} -> ${edge.to}`);
}

const isNode = (to: string) => to.startsWith('node:');
const isPackage = (to: string) => isNode(to) || !/^(events|platform|presets|services|tests|benchmarks)\//.test(to);
const serviceOf = (path: string) => /^services\/([^/]+)\//.exec(path)?.[1] ?? null;

/** A composition root may name adapters: the entry files of services and everything of the embedded one. */
const isCompositionRoot = (file: string) => /^services\/[^/]+\/main\.ts$/.test(file) || isInside('services/standalone')(file);
const isAdapter = (path: string) => /^events\/(store|bus)\/[^/]+\//.test(path);

describe('import rules', () => {
  test('the scan sees the code', () => {
    expect(production.length).toBeGreaterThan(60);
    expect(imports).toContainEqual({ from: 'services/ledger/domain/decide.ts', to: 'services/ledger/domain/pricing.ts' });
  });

  test('the contract imports zod and uuid only', () => {
    const isContract = isInside('events/contract');
    expect(offenders(isContract, (to) => isContract(to) || to === 'zod' || to === 'uuid')).toEqual([]);
  });

  test('the ledger domain imports the contract only, and nothing of Node', () => {
    const isDomain = isInside('services/ledger/domain');
    const isAllowed = (to: string) => isDomain(to) || isInside('events/contract')(to) || to === 'services/ledger/ledger-client.ts';
    expect(offenders(isDomain, isAllowed)).toEqual([]);
  });

  test('the plumbing knows nothing of billing', () => {
    const isPlatform = isInside('platform');
    const isAllowed = (to: string) => isPlatform(to) || isPackage(to) || to === 'events/contract/ids.ts';
    expect(offenders(isPlatform, isAllowed)).toEqual([]);
  });

  test('events know no service', () => {
    expect(offenders(isInside('events'), (to) => isInside('events')(to) || isInside('platform')(to) || isPackage(to))).toEqual([]);
  });

  test('a service imports events, platform, presets and itself; the API also the port of the ledger', () => {
    const isAllowed = (to: string, from: string) => {
      const target = serviceOf(to);
      if (target === null || target === serviceOf(from)) return true;
      if (serviceOf(from) !== 'api') return false;
      return to === 'services/ledger/ledger-client.ts' || (from === 'services/api/main.ts' && isInside('services/ledger/http')(to));
    };
    expect(offenders((file) => serviceOf(file) !== null && serviceOf(file) !== 'standalone', isAllowed)).toEqual([]);
  });

  test('only composition roots name an adapter', () => {
    const isAllowed = (to: string, from: string) =>
      !isAdapter(to) || (isAdapter(from) && posix.dirname(from) === posix.dirname(to)) || isInside(posix.dirname(to))(from);
    expect(offenders((file) => !isCompositionRoot(file), isAllowed)).toEqual([]);
  });

  test('only the llama folder and the model commands import node-llama-cpp', () => {
    const isAllowed = (to: string, from: string) => to !== 'node-llama-cpp' || /^services\/inference\/(llama|models|tiny)\//.test(from);
    expect(offenders(() => true, isAllowed)).toEqual([]);
  });
});

describe('the house', () => {
  test.each(production)('%s opens with its reason', (file) => {
    expect(readFileSync(`${ROOT}${file}`, 'utf8')).toMatch(/^(#!.*\n)?\/\*\*/);
  });

  test('every service says what it owns', () => {
    for (const service of readdirSync(`${ROOT}services`)) {
      expect([service, readFileSync(`${ROOT}services/${service}/README.md`, 'utf8').length > 200]).toEqual([service, true]);
    }
  });
});
