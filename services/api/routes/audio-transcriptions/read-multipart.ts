/**
 * Reads a multipart body within bounds: one file and some short fields, each at most once. What is held of all uploads together is bounded too,
 * by the bytes that have really come, so that slow senders keep nobody out.
 */
import type { IncomingMessage } from 'node:http';
import { Busboy, type BusboyFileStream, type BusboyHeaders, type BusboyInstance } from '@fastify/busboy';
import type { ByteBudget } from '../../media/byte-budget.js';
import { ClientGoneError } from '../../read-body.js';
import { type RefusalError, refuse } from '../../refusals.js';

/** As OpenAI's endpoint has it. */
export const FILE_BYTES_MAX = 25 * 1024 * 1024;
/** The prompt is the longest field. */
export const FIELD_BYTES_MAX = 16 * 1024;
/** Distinct names are fewer; one more part shows that there are too many. */
const PARTS_MAX = 32;
/** Of boundaries, part headers and fields, beside the file. */
const OVERHEAD_BYTES_MAX = 1024 * 1024;

export const BODY_BYTES_MAX = FILE_BYTES_MAX + OVERHEAD_BYTES_MAX;

/** Uploads in memory at once, in bytes, until they have been decoded. */
export const UPLOADS_BYTES_MAX = 128 * 1024 * 1024;

export type MultipartForm = {
  readonly file: Buffer<ArrayBuffer>;
  /** By name, in the order in which they came. A name that ends in `[]` may come several times. */
  readonly fields: ReadonlyMap<string, readonly string[]>;
  /** Gives the budget back; called when the file is needed no more. */
  readonly letGo: () => void;
};

type Options = { readonly fileField: string; readonly fieldNames: readonly string[]; readonly budget: ByteBudget };

/** Rejects with `RefusalError`, naming the field, or with `ClientGoneError`. What it took of the budget is given back by `letGo`, or when it rejects. */
export async function readMultipart(request: IncomingMessage, options: Options): Promise<MultipartForm> {
  const boundary = /^multipart\/form-data\s*;/i.test(request.headers['content-type'] ?? '');
  if (!boundary) throw refuse('unsupported_media_type', { message: 'The endpoint takes multipart/form-data.' });
  const encoding = request.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity')
    throw refuse('unsupported_media_type', { message: 'Content-Encoding is not supported.' });
  if (Number(request.headers['content-length'] ?? 0) > BODY_BYTES_MAX) throw fileTooLarge();
  if (request.destroyed) throw new ClientGoneError('the client went away before its request was read');
  const reading = new Reading(request, options);
  try {
    return await reading.form;
  } catch (error) {
    reading.letGo();
    throw error;
  }
}

class Reading {
  readonly form: Promise<MultipartForm>;
  readonly #request: IncomingMessage;
  readonly #options: Options;
  readonly #fields = new Map<string, string[]>();
  readonly #chunks: Buffer[] = [];
  #parser: BusboyInstance | null = null;
  #hasFile = false;
  #hasEnded = false;
  #bytes = 0;
  #taken = 0;
  #resolve: (form: MultipartForm) => void = () => {};
  #reject: (error: Error) => void = () => {};

  constructor(request: IncomingMessage, options: Options) {
    this.#request = request;
    this.#options = options;
    this.form = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    try {
      const parser = new Busboy({
        headers: request.headers as BusboyHeaders,
        limits: { fileSize: FILE_BYTES_MAX, fieldSize: FIELD_BYTES_MAX, fieldNameSize: 100, parts: PARTS_MAX },
      });
      this.#parser = parser;
      this.#read(parser);
    } catch {
      this.#fail(malformed('The multipart body has no boundary.'));
    }
  }

  letGo(): void {
    this.#options.budget.give(this.#taken);
    this.#taken = 0;
  }

  #read(parser: BusboyInstance): void {
    const request = this.#request;
    request.on('data', (chunk: Buffer) => this.#onBytes(chunk.length));
    request.once('close', () => {
      if (!request.complete) this.#fail(new ClientGoneError('the client went away while sending'));
      // The parser may hear of the end no sooner than we do, and says ticks later what it makes of the last bytes; after this turn it has.
      else setImmediate(() => this.#fail(malformed('The multipart body ends too early.')));
    });
    request.once('error', (error) => this.#fail(new ClientGoneError('the request broke off', { cause: error })));
    parser.on('file', (name, stream) => this.#onFile(name, stream));
    parser.on('field', (name, value, _isNameCut, isCut) => this.#onField(name, value, isCut));
    parser.on('partsLimit', () => this.#fail(malformed(`The form has more than ${PARTS_MAX} parts.`)));
    parser.on('error', () => this.#fail(malformed('The multipart body is malformed.')));
    parser.on('finish', () => this.#finish());
    request.pipe(parser);
  }

  #finish(): void {
    if (!this.#hasFile) this.#fail(fieldRefusal(this.#options.fileField, 'is required: the recording, as a file.'));
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#resolve({ file: joined(this.#chunks), fields: this.#fields, letGo: () => this.letGo() });
  }

  /** The first refusal counts; the rest of the body is read and thrown away, so that the client sees the answer. */
  #fail(error: Error): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#chunks.length = 0;
    if (this.#parser !== null) this.#request.unpipe(this.#parser);
    this.#request.resume();
    this.#reject(error);
  }

  #onBytes(bytes: number): void {
    if (this.#hasEnded) return;
    this.#bytes += bytes;
    if (this.#bytes > BODY_BYTES_MAX) this.#fail(fileTooLarge());
    else if (this.#options.budget.take(bytes)) this.#taken += bytes;
    else this.#fail(refuse('engine_at_capacity', { message: 'Too many recordings are being uploaded.' }));
  }

  #onFile(name: string, stream: BusboyFileStream): void {
    const { fileField } = this.#options;
    stream.on('error', () => this.#fail(malformed('The multipart body ends too early.')));
    if (name !== fileField || this.#hasFile) {
      stream.resume();
      this.#fail(fieldRefusal(name, name === fileField ? 'is there more than once.' : 'must not be a file.'));
      return;
    }
    this.#hasFile = true;
    stream.on('data', (chunk: Buffer) => this.#chunks.push(chunk));
    stream.on('limit', () => this.#fail(fileTooLarge()));
  }

  #onField(name: string, value: string, isCut: boolean): void {
    const { fileField, fieldNames } = this.#options;
    // Unknown ones are dropped, as everywhere.
    if (name !== fileField && !fieldNames.includes(name)) return;
    const values = this.#fields.get(name);
    if (name === fileField) this.#fail(fieldRefusal(name, 'must be a file.'));
    else if (isCut) this.#fail(fieldRefusal(name, `must not exceed ${FIELD_BYTES_MAX} bytes.`));
    else if (values === undefined) this.#fields.set(name, [value]);
    else if (name.endsWith('[]')) values.push(value);
    else this.#fail(fieldRefusal(name, 'is there more than once.'));
  }
}

/** Memory of its own: a decoder's thread takes it over. */
function joined(chunks: readonly Buffer[]): Buffer<ArrayBuffer> {
  const file = Buffer.from(new ArrayBuffer(chunks.reduce((sum, chunk) => sum + chunk.length, 0)));
  let at = 0;
  for (const chunk of chunks) at += chunk.copy(file, at);
  return file;
}

export function fieldRefusal(name: string, problem: string): RefusalError {
  const shown = name.slice(0, 100);
  return refuse('invalid_parameter', { message: `${shown} ${problem}`, param: shown });
}

function malformed(message: string): RefusalError {
  return refuse('invalid_parameter', { message });
}

function fileTooLarge(): RefusalError {
  return refuse('body_too_large', { message: `The file must not exceed ${FILE_BYTES_MAX} bytes.` });
}
