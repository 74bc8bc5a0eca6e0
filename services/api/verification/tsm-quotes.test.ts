/** The kernel's attestation interface, against a directory that behaves like it. */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { QuoteUnavailableError, type ReportFiles, reportDigest, tsmQuotes, workingQuotes } from './tsm-quotes.js';

let reports: string;
let underWay: number;
let underWayMax: number;

beforeEach(async () => {
  reports = await mkdtemp(`${tmpdir()}/farebox-tsm-`);
  underWay = 0;
  underWayMax = 0;
});
afterEach(() => rm(reports, { recursive: true }));

/** What configfs does by itself: a new directory has its attributes, `outblob` follows `inblob`, and removing it removes them. */
function configfs(quoteOf: (digest: Buffer) => Buffer = (digest) => Buffer.concat([Buffer.from('quote of '), digest])): ReportFiles {
  return {
    mkdir: async (path) => {
      underWay += 1;
      underWayMax = Math.max(underWayMax, underWay);
      await mkdir(path);
      await writeFile(`${path}/provider`, 'tdx_guest\n');
    },
    writeFile: async (path, content) => {
      await writeFile(path, content);
      await writeFile(path.replace(/inblob$/, 'outblob'), quoteOf(content));
    },
    readFile: (path) => readFile(path),
    rmdir: async (path) => {
      underWay -= 1;
      await rm(path, { recursive: true });
    },
  };
}

describe('a quote', () => {
  test('carries the digest of the text, 64 bytes of it, and leaves nothing behind', async () => {
    const { platform, bytes } = await tsmQuotes(reports, configfs()).quote('a receipt');
    expect(platform).toBe('tdx_guest');
    const digest = createHash('sha512').update('a receipt').digest();
    expect(bytes).toEqual(Buffer.concat([Buffer.from('quote of '), digest]));
    expect(reportDigest('a receipt')).toHaveLength(64);
    expect(await readdir(reports)).toEqual([]);
  });

  test('is made one after the other, and the ones beyond the bound are refused at once', async () => {
    const source = tsmQuotes(reports, configfs());
    const outcomes = await Promise.allSettled(Array.from({ length: 40 }, (_, n) => source.quote(`${n}`)));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(32);
    expect(underWayMax).toBe(1);
    await expect(source.quote('again')).resolves.toMatchObject({ platform: 'tdx_guest' });
  });

  test.each([
    ['gives nothing', () => Buffer.alloc(0)],
    ['gives more than a quote can be', () => Buffer.alloc(70_000)],
    [
      'refuses',
      () => {
        throw new Error('EIO');
      },
    ],
  ])('is unavailable when the kernel %s', async (_name, quoteOf) => {
    const source = tsmQuotes(reports, configfs(quoteOf));
    await expect(source.quote('x')).rejects.toBeInstanceOf(QuoteUnavailableError);
    expect(await readdir(reports)).toEqual([]);
    expect(await workingQuotes(reports, configfs(quoteOf))).toBeNull();
  });

  test('is not claimed where there is no such interface', async () => {
    expect(await workingQuotes(`${reports}/missing`)).toBeNull();
    // A plain directory takes the write and has no quote to give.
    expect(await workingQuotes(reports)).toBeNull();
    expect(await workingQuotes(reports, configfs())).not.toBeNull();
  });
});
