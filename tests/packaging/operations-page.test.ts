/** `docs/operations.md` names every variable that a process of Farebox knows, and none that no process knows: an operator has no other list. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { packageFile } from '../../platform/package-root.js';
import { settingsOf } from './settings-names.js';

const page = readFileSync(packageFile('docs/operations.md'), 'utf8');

/** By the name that the page has for each. */
const PROCESSES: Readonly<Record<string, string>> = {
  'start:api': 'services/api/main.ts',
  'start:ledger': 'services/ledger/main.ts',
  'start:projector': 'services/projector/main.ts',
  'start:inference': 'services/inference/main.ts',
};
const OTHERS = ['services/standalone/settings.ts', 'services/standalone/commands/topics.ts'];
/** The commands read the event store's place beside the embedded settings. */
const EVENT_STORE = 'services/ledger/main.ts';

const VARIABLE = /`((?:[A-Z][A-Z0-9]*_)+[A-Z0-9]+|PORT)`/g;
const variablesOf = (text: string) => [...text.matchAll(VARIABLE)].map(([, name = '']) => name);
const settingsOfAll = [...Object.values(PROCESSES), ...OTHERS, EVENT_STORE].map(settingsOf);
const known = new Set(settingsOfAll.flatMap((one) => [...one.known]));

/** Taken by every process, or described beside its table. */
const SHARED = /^(PORT|FAREBOX_HOST|LOG_LEVEL)$|^(KAFKA|ESDB)_/;

describe('docs/operations.md', () => {
  test('has every variable that a process knows', () => {
    const named = new Set(variablesOf(page));
    expect(known.size).toBeGreaterThan(40);
    expect([...known].filter((name) => !named.has(name))).toEqual([]);
  });

  test('has no variable that nobody knows', () => {
    const rows = page.split('\n').filter((line) => line.startsWith('| `'));
    const firstCells = rows.map((row) => row.split('|')[1] ?? '');
    expect(firstCells.flatMap(variablesOf).filter((name) => !known.has(name))).toEqual([]);
  });

  test.each(Object.entries(PROCESSES))('%s needs and takes what its row says', (process, file) => {
    const row = page.split('\n').find((line) => line.startsWith(`| \`${process}\``)) ?? '';
    const [, , , needs = '', takes = ''] = row.split('|');
    const settings = settingsOf(file);
    const isOwn = (name: string) => !SHARED.test(name);
    expect(variablesOf(needs).sort()).toEqual([...settings.required].sort());
    const optional = [...settings.known].filter((name) => !settings.required.has(name) && isOwn(name));
    expect(variablesOf(takes).filter(isOwn).sort()).toEqual(optional.sort());
  });
});
