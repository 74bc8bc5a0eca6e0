/**
 * Fetches the weights that a preset names, with node-llama-cpp's resolver (`hf:user/repo:quant`, `https://…`). The library is imported only
 * when something is fetched: it is large, and the process that serves requests never needs it.
 */
import { mkdir, open, rm } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import type { ModelDownloader } from 'node-llama-cpp';
import type { PresetModel } from '../../../presets/preset-schema.js';
import { findWeights, type WeightsFile, weightsPath } from './weights.js';

/** Resolving the name and the first answer of the hub; beyond this it counts as out of reach. */
export const CONNECT_MS_MAX = 30_000;

/** A download that brings nothing for so long is given up; what came can be continued by pulling again. */
export const STALL_MS_MAX = 60_000;

/** Of GGUF, and of the older ggml format (0x67676d6c, little-endian) that whisper.cpp's weights come in. */
const MAGICS: ReadonlySet<string> = new Set(['GGUF', 'lmgg']);
const MAGIC_BYTES = 4;

export type PullFailure =
  /** The preset names no weights: the model comes with the software. */
  | 'nothing_to_pull'
  | 'hub_unreachable'
  /** The hub has no such file, or not for us. */
  | 'not_found'
  | 'download_stalled'
  | 'download_failed'
  /** What came is no file of weights. */
  | 'not_a_model'
  | 'disk_failed';

export class ModelPullError extends Error {
  override readonly name = 'ModelPullError';
  constructor(
    readonly failure: PullFailure,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

export type PullProgress = { readonly downloadedBytes: number; readonly totalBytes: number };

export type PullOptions = {
  readonly model: PresetModel;
  readonly modelDirectory: string;
  readonly onProgress?: (progress: PullProgress) => void;
  /** Another address of the Hugging Face hub, such as a mirror. */
  readonly hubUrl?: string;
  readonly connectMsMax?: number;
  readonly stallMsMax?: number;
};

/** Resolves with the weights, fetched or found. Rejects with `ModelPullError`. */
export async function pullModel(options: PullOptions): Promise<WeightsFile & { readonly wasPresent: boolean }> {
  const { model, modelDirectory } = options;
  if (model.weights === undefined)
    throw new ModelPullError('nothing_to_pull', `${model.id} comes with the software; there is nothing to pull`);
  const present = await findWeights(model, modelDirectory);
  if (present !== null) return { ...present, wasPresent: true };
  await mkdir(modelDirectory, { recursive: true }).catch((error: unknown) => {
    throw new ModelPullError('disk_failed', `${modelDirectory} cannot be made: ${reasonOf(error)}`, { cause: error });
  });
  await download(await startDownload(options, model.weights.uri), options, model.weights.uri);
  const file = await findWeights(model, modelDirectory);
  if (file === null) throw new ModelPullError('download_failed', `the download of ${model.weights.uri} ended without a file`);
  await requireModel(file.path, model.weights.uri);
  return { ...file, wasPresent: false };
}

async function startDownload(options: PullOptions, uri: string): Promise<ModelDownloader> {
  const { model, modelDirectory, onProgress, hubUrl, connectMsMax = CONNECT_MS_MAX } = options;
  const path = weightsPath(model, modelDirectory);
  const { createModelDownloader } = await import('node-llama-cpp');
  const starting = createModelDownloader({
    modelUri: uri,
    dirPath: dirname(path),
    fileName: basename(path),
    // A download that was broken off goes on where it stopped.
    deleteTempFileOnCancel: false,
    ...(hubUrl === undefined ? {} : { endpoints: { huggingFace: hubUrl } }),
    onProgress: ({ downloadedSize, totalSize }) => onProgress?.({ downloadedBytes: downloadedSize, totalBytes: totalSize }),
  });
  try {
    return await within(starting, connectMsMax);
  } catch (error) {
    starting.then(
      (late) => late.cancel(),
      () => {},
    );
    throw failureOf(error, uri);
  }
}

async function download(downloader: ModelDownloader, { stallMsMax = STALL_MS_MAX }: PullOptions, uri: string): Promise<void> {
  const giveUp = new AbortController();
  let lastBytes = -1;
  const watch = setInterval(() => {
    if (downloader.downloadedSize === lastBytes)
      giveUp.abort(new ModelPullError('download_stalled', `the download of ${uri} stands still`));
    lastBytes = downloader.downloadedSize;
  }, stallMsMax);
  const stalled = new Promise<never>((_, reject) => {
    giveUp.signal.addEventListener('abort', () => reject(giveUp.signal.reason));
  });
  try {
    await Promise.race([downloader.download({ signal: giveUp.signal }), stalled]);
  } catch (error) {
    throw failureOf(error, uri);
  } finally {
    clearInterval(watch);
  }
}

/** A sign-in page or an error in place of the file must not be loaded at the next start. */
async function requireModel(path: string, uri: string): Promise<void> {
  const file = await open(path, 'r');
  const { buffer } = await file.read(Buffer.alloc(MAGIC_BYTES), 0, MAGIC_BYTES, 0).finally(() => file.close());
  if (MAGICS.has(buffer.toString('latin1'))) return;
  await rm(path, { force: true });
  throw new ModelPullError('not_a_model', `what ${uri} gave is no GGUF or ggml file`);
}

class TooLate extends Error {}

function within<Value>(promise: Promise<Value>, msMax: number): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TooLate(`no answer within ${msMax / 1_000} s`)), msMax);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const DISK_ERRORS = /^(ENOSPC|EACCES|EROFS|EDQUOT|EPERM|EIO)$/;
const NOT_FOUND = /\b(401|403|404)\b|not found|Failed to resolve/i;
const NETWORK = /fetch failed|ENOTFOUND|EAI_AGAIN|ECONN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|certificate|socket/i;

/** Libraries wrap each other's errors; what went wrong is somewhere in the chain of causes. */
function failureOf(error: unknown, uri: string): ModelPullError {
  if (error instanceof ModelPullError) return error;
  const chain: Error[] = [];
  for (let cause = error; cause instanceof Error && chain.length < 8; cause = cause.cause) chain.push(cause);
  const codes = chain.map((cause) => String((cause as NodeJS.ErrnoException).code ?? ''));
  const text = chain.map((cause, index) => `${codes[index]} ${cause.message}`).join('; ');
  const reason = reasonOf(chain.at(-1) ?? error);
  const failure = (name: PullFailure, message: string) => new ModelPullError(name, message, { cause: error });
  if (codes.some((code) => DISK_ERRORS.test(code))) return failure('disk_failed', `${uri} cannot be stored: ${reason}`);
  if (chain.some((cause) => cause instanceof TooLate) || NETWORK.test(text)) {
    return failure(
      'hub_unreachable',
      `the hub of ${uri} cannot be reached from here (${reason}); check the network or set HF_ENDPOINT to a mirror`,
    );
  }
  if (NOT_FOUND.test(text)) return failure('not_found', `the hub has no ${uri}, or needs a token for it (${reason})`);
  return failure('download_failed', `${uri} could not be downloaded: ${reason}`);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
