/** `farebox verify receipt.json`: checks a receipt on this machine alone, and says in words what holds and what does not. Asks nobody. */
import { readFileSync, statSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { answerTextOf } from '../../api/verification/answer-text.js';
import { checkReceipt, isGood, type ReceiptCheckOptions, type ReceiptFinding } from '../../api/verification/check-receipt.js';
import { type PublicReceiptKey, publicReceiptKey } from '../../api/verification/receipt-keys.js';

export const VERIFY_RECEIPT_USAGE = `farebox verify <receipt.json> [--key <file>] [--request <file>] [--response <file>]

  receipt.json   a receipt, or the whole answer of GET /v1/requests/<id>/verification
  --key          the service's public key: PEM, base64, or the answer of GET /v1/verification/keys
  --request      the body of the request, byte by byte as it was sent
  --response     the answer: its JSON, or the events of a stream as they came
`;

/** Exit codes: the receipt is not good; the command line is not understood; a file cannot be read. */
const EXIT_NOT_GOOD = 3;
const EXIT_USAGE = 2;
const EXIT_UNREADABLE = 1;

/** A receipt has some 5 kB, and so has a list of keys. */
const DOCUMENT_BYTES_MAX = 1024 * 1024;
/** More than any request or answer may have. */
const CONTENT_BYTES_MAX = 256 * 1024 * 1024;

const MARKS = { passed: 'ok     ', failed: 'WRONG  ', unknown: 'unknown' } as const;

export type Output = { readonly out: (text: string) => void; readonly error: (text: string) => void };

/** A file that cannot be used; the message names it. */
class UnusableFileError extends Error {
  override readonly name = 'UnusableFileError';
}

export function verifyReceipt(words: readonly string[], { out, error }: Output): number {
  const asked = readArguments(words);
  if (asked === null) {
    error(VERIFY_RECEIPT_USAGE);
    return EXIT_USAGE;
  }
  try {
    const findings = checkReceipt(readReceipt(asked.receipt), optionsOf(asked));
    for (const { result, words: said } of findings) out(`${MARKS[result]}  ${said}\n`);
    out(`\n${verdictOf(findings)}\n`);
    return isGood(findings) ? 0 : EXIT_NOT_GOOD;
  } catch (cause) {
    if (!(cause instanceof UnusableFileError)) throw cause;
    error(`farebox: ${cause.message}\n`);
    return EXIT_UNREADABLE;
  }
}

type Asked = { readonly receipt: string; readonly key?: string; readonly request?: string; readonly response?: string };

function readArguments(words: readonly string[]): Asked | null {
  try {
    const file = { type: 'string' } as const;
    const { values, positionals } = parseArgs({
      args: [...words],
      options: { key: file, request: file, response: file },
      allowPositionals: true,
    });
    const [receipt, ...others] = positionals;
    return receipt === undefined || others.length > 0 ? null : { receipt, ...values };
  } catch {
    return null;
  }
}

function optionsOf({ key, request, response }: Asked): ReceiptCheckOptions {
  return {
    ...(key === undefined ? {} : { trustedKeys: readKeys(key) }),
    ...(request === undefined ? {} : { requests: requestTexts(readBytes(request, CONTENT_BYTES_MAX)) }),
    ...(response === undefined ? {} : { answerText: readAnswer(response) }),
  };
}

function verdictOf(findings: readonly ReceiptFinding[]): string {
  if (!isGood(findings)) return 'This receipt is NOT good.';
  if (findings.some(({ check, result }) => check === 'key' && result === 'unknown')) {
    return 'This receipt is whole, and adds up. Who signed it was not checked.';
  }
  return 'This receipt is good.';
}

function readReceipt(path: string): unknown {
  const document = readJson(path);
  if (typeof document !== 'object' || document === null || !('receipt' in document)) return document;
  if (document.receipt === null) throw new UnusableFileError(`${path} holds no receipt: the service made none for this request`);
  return document.receipt;
}

const KeyList = z.object({ data: z.array(z.object({ public_key: z.string() })).min(1) });

function readKeys(path: string): PublicReceiptKey[] {
  const text = readBytes(path, DOCUMENT_BYTES_MAX).toString('utf8');
  try {
    if (!text.trimStart().startsWith('{')) return [publicReceiptKey(text)];
    return KeyList.parse(JSON.parse(text)).data.map((key) => publicReceiptKey(key.public_key));
  } catch (cause) {
    throw new UnusableFileError(`${path} holds no public key: it must be PEM, base64, or what /v1/verification/keys answers`, { cause });
  }
}

/** What a file holds and what was sent differ by how it was sent: editors end files with a line feed, and `curl -d @file` sends none at all. */
function requestTexts(bytes: Buffer): NonNullable<ReceiptCheckOptions['requests']> {
  const text = bytes.toString('latin1');
  return [
    { bytes, how: 'byte by byte' },
    { bytes: Buffer.from(text.replace(/\r?\n$/, ''), 'latin1'), how: 'without the line end of the file' },
    { bytes: Buffer.from(text.replace(/[\r\n]/g, ''), 'latin1'), how: 'without line ends, as curl -d sends it' },
  ];
}

function readAnswer(path: string): string {
  const answer = answerTextOf(readBytes(path, CONTENT_BYTES_MAX).toString('utf8'));
  if (answer === null) throw new UnusableFileError(`${path} holds no answer of a chat, completion, embedding or transcription`);
  return answer;
}

function readJson(path: string): unknown {
  try {
    return JSON.parse(readBytes(path, DOCUMENT_BYTES_MAX).toString('utf8'));
  } catch (cause) {
    if (cause instanceof UnusableFileError) throw cause;
    throw new UnusableFileError(`${path} is no JSON`, { cause });
  }
}

function readBytes(path: string, bytesMax: number): Buffer {
  try {
    if (statSync(path).size > bytesMax) throw new UnusableFileError(`${path} is larger than ${bytesMax} bytes`);
    return readFileSync(path);
  } catch (cause) {
    if (cause instanceof UnusableFileError) throw cause;
    throw new UnusableFileError(`${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}
