/** `farebox verify receipt.json`, as a person at a terminal meets it. */
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { textOfAnswers } from '../../../events/contract/index.js';
import type { Receipt } from '../../api/verification/receipt.js';
import { OTHER_SIGNER, SIGNER, settledRequest } from '../../api/verification/testing/settled-requests.js';
import { keyBody } from '../../api/verification/verification-object.js';
import { verifyReceipt } from './verify-receipt.js';

const REQUEST = '{"model":"m",\n"messages":[]}';
const ANSWER = { choices: [{ message: { content: 'Hello!' } }] };
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

let folder: string;
let receipt: Receipt;

const file = (name: string, content: unknown) => {
  const path = `${folder}/${name}`;
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
};

function run(...words: string[]) {
  let [text, complaint] = ['', ''];
  const code = verifyReceipt(words, {
    out: (said) => {
      text += said;
    },
    error: (said) => {
      complaint += said;
    },
  });
  return { code, text, complaint };
}

beforeAll(async () => {
  folder = mkdtempSync(`${tmpdir()}/farebox-receipt-`);
  const { verification, record } = await settledRequest({
    reserve: { requestHash: sha256(REQUEST) },
    settle: { responseHash: sha256(textOfAnswers([{ text: 'Hello!' }])) },
  });
  receipt = (await verification.report(record)).receipt as Receipt;
});
afterAll(() => rmSync(folder, { recursive: true }));

test('a good receipt with everything to hold it against: 0, and it says so', () => {
  const keys = file('keys.json', { object: 'list', data: [OTHER_SIGNER.publicKey, SIGNER.publicKey].map(keyBody) });
  const words = ['--key', keys, '--request', file('request.json', REQUEST), '--response', file('answer.json', ANSWER)];
  const { code, text } = run(file('receipt.json', { verified: true, receipt }), ...words);
  expect(code).toBe(0);
  expect(text).toContain('This receipt is good.');
  expect(text).toContain('The request is the one that was sent (byte by byte).');
  expect(text).toContain('The answer is the one that was generated.');
  expect(text).not.toMatch(/WRONG|unknown/);
});

test('without a key: 0, with the warning that nobody vouches for the signer', () => {
  const { code, text } = run(file('receipt.json', receipt));
  expect(code).toBe(0);
  expect(text).toContain('Who signed it was not checked');
});

test.each([
  ['a changed charge', () => ({ ...receipt, charged: '0' }), /WRONG +The signature does not fit/],
  ['another document', () => ({ hello: 1 }), /This is no receipt/],
])('%s: 3, and it says what is wrong', (_name, document, words) => {
  const { code, text } = run(file('receipt.json', document()));
  expect(code).toBe(3);
  expect(text).toMatch(words);
  expect(text).toContain('NOT good');
});

test('a key that is not the one that signed: 3', () => {
  const { code, text } = run(file('receipt.json', receipt), '--key', file('key.txt', OTHER_SIGNER.publicKey.publicKey));
  expect([code, text.includes('none of the keys that you trust')]).toEqual([3, true]);
});

test('a request that an editor ended with a line feed, or that curl -d sent in one line, is recognised', () => {
  const path = file('receipt.json', receipt);
  expect(run(path, '--request', file('request.json', `${REQUEST}\n`)).text).toContain('without the line end of the file');
  expect(run(path, '--request', file('request.json', '{}')).code).toBe(3);
});

test('another answer: 3', () => {
  const other = { choices: [{ message: { content: 'Hello?' } }] };
  expect(run(file('receipt.json', receipt), '--response', file('answer.json', other)).code).toBe(3);
});

test.each([
  ['a file that is not there', () => ['/nowhere.json'], 1, /cannot be read/],
  ['a file that is no JSON', () => [file('receipt.json', 'hello')], 1, /is no JSON/],
  ['an answer without a receipt', () => [file('receipt.json', { verified: false, receipt: null })], 1, /holds no receipt/],
  ['a key that is none', () => [file('receipt.json', receipt), '--key', file('key.txt', 'abc')], 1, /holds no public key/],
  ['no file', () => [], 2, /farebox verify <receipt.json>/],
  ['an option that there is not', () => ['a', '--hash', 'b'], 2, /farebox verify <receipt.json>/],
])('%s is told apart from a bad receipt', (_name, words, code, complaint) => {
  const outcome = run(...words());
  expect([outcome.code, outcome.text]).toEqual([code, '']);
  expect(outcome.complaint).toMatch(complaint);
});
