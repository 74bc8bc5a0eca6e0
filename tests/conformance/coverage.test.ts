/** Every row of the documents is proved by a test that exists, and docs/conformance.md says by which. */
import { readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { packageFile } from '../../platform/package-root.js';
import { conformanceDocument, isThere, readProofs } from './proofs.js';
import { ROWS } from './rows.js';

const proofs = readProofs();

test('every row has a test', () => {
  expect(ROWS.map(({ id }) => id).filter((id) => !proofs.has(id))).toEqual([]);
});

test('every test names rows that exist', () => {
  const known = new Set(ROWS.map(({ id }) => id));
  expect([...proofs.keys()].filter((id) => !known.has(id))).toEqual([]);
});

test('every test that a row refers to is where it says', () => {
  expect(ROWS.flatMap(({ also = [] }) => also).filter((proof) => !isThere(proof))).toEqual([]);
});

test('docs/conformance.md is up to date', () => {
  expect(readFileSync(packageFile('docs/conformance.md'), 'utf8')).toBe(conformanceDocument(proofs));
});
