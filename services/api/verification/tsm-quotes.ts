/**
 * Asks the kernel for an attestation quote: Linux's configfs-tsm (Documentation/ABI/testing/configfs-tsm), which has one interface for Intel TDX,
 * AMD SEV-SNP and Arm CCA. A new directory is a report; what is written to `inblob` is bound into the quote that `outblob` then gives.
 */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';

/** Where the kernel offers it. */
export const TSM_REPORTS_PATH = '/sys/kernel/config/tsm/report';

/** A quote is a few kilobytes; more is no quote. */
const QUOTE_BYTES_MAX = 64 * 1024;

/** Quotes that may be asked for at once: the hardware makes one after the other, some in tens of milliseconds. */
const QUOTES_WAITING_MAX = 32;

export type Quote = {
  /** The kernel's name for what made it, such as `tdx_guest` or `sev_guest`. */
  readonly platform: string;
  readonly bytes: Buffer;
};

export interface QuoteSource {
  /** A quote that carries the SHA-512 of `text`. Rejects when the kernel gives none. */
  quote(text: string): Promise<Quote>;
}

/** No quote: no such hardware, too many asked for, or the kernel refused. */
export class QuoteUnavailableError extends Error {
  override readonly name = 'QuoteUnavailableError';
}

/** The calls that the kernel's interface consists of. */
export type ReportFiles = {
  readonly mkdir: (path: string) => Promise<unknown>;
  readonly rmdir: (path: string) => Promise<unknown>;
  readonly writeFile: (path: string, content: Buffer) => Promise<unknown>;
  readonly readFile: (path: string) => Promise<Buffer>;
};

const KERNEL_FILES: ReportFiles = { mkdir, rmdir, writeFile, readFile };

/** What a quote carries: 64 bytes, which every one of these platforms takes. */
export function reportDigest(text: string): Buffer {
  return createHash('sha512').update(text).digest();
}

export function tsmQuotes(path: string, files: ReportFiles = KERNEL_FILES): QuoteSource {
  let last: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  return {
    async quote(text) {
      if (waiting >= QUOTES_WAITING_MAX) throw new QuoteUnavailableError('too many quotes are being asked for');
      waiting += 1;
      const turn = last.then(() => oneQuote(path, files, reportDigest(text)));
      last = turn.catch(() => {});
      try {
        return await turn;
      } finally {
        waiting -= 1;
      }
    },
  };
}

async function oneQuote(path: string, files: ReportFiles, digest: Buffer): Promise<Quote> {
  const report = `${path}/farebox-${randomUUID()}`;
  try {
    await files.mkdir(report);
  } catch (error) {
    throw new QuoteUnavailableError(`no report can be made under ${path}`, { cause: error });
  }
  try {
    await files.writeFile(`${report}/inblob`, digest);
    const bytes = await files.readFile(`${report}/outblob`);
    if (bytes.length === 0 || bytes.length > QUOTE_BYTES_MAX) throw new QuoteUnavailableError(`the kernel gave ${bytes.length} bytes`);
    const platform = (await files.readFile(`${report}/provider`)).toString('utf8').trim();
    return { platform, bytes };
  } catch (error) {
    if (error instanceof QuoteUnavailableError) throw error;
    throw new QuoteUnavailableError('the kernel gave no quote', { cause: error });
  } finally {
    await files.rmdir(report).catch(() => {});
  }
}

/** The source, when the kernel behind it really gives quotes; `null` otherwise. */
export async function workingQuotes(path: string, files?: ReportFiles): Promise<QuoteSource | null> {
  const source = tsmQuotes(path, files);
  try {
    await source.quote('farebox');
    return source;
  } catch {
    return null;
  }
}
