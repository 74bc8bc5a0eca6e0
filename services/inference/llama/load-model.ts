/**
 * Loads a GGUF file with node-llama-cpp on the CPU. Nothing is ever built or downloaded: without a prebuilt binary for this platform it
 * fails. Only the child process imports this file.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { getLlama, getModuleVersion, LlamaLogLevel, type LlamaModel, type Token } from 'node-llama-cpp';
import type { BatchDecoder } from './batch-decoder.js';
import { ChatPrompt } from './chat-prompt.js';
import { Embedder } from './embedder.js';
import { nativeBatchDecoder } from './native-batch.js';
import type { LlamaModelConfig, ModelFacts } from './protocol.js';
import { publicBatchDecoder } from './public-batch.js';
import type { Vocabulary } from './vocabulary.js';

/** Attributes of tokens in GGUF files (`llama_token_type` in llama.cpp's llama.h). */
const TOKEN_TYPE_UNKNOWN = 2;
const TOKEN_TYPE_CONTROL = 3;

/** Every GGUF file begins with these bytes. */
const GGUF_MAGIC = 'GGUF';

/** Of a file of gigabytes this much from its start is hashed: all metadata of common models and, with the size, enough to tell files apart. */
const FINGERPRINT_BYTES_MAX = 32 * 1024 * 1024;

/** Hexadecimal digits of the hash that are shown. */
const FINGERPRINT_DIGITS = 8;

export type LoadedModel = {
  readonly facts: ModelFacts;
  readonly vocabulary: Vocabulary;
  readonly prompt: ChatPrompt;
  readonly decoder: BatchDecoder;
  readonly embedder: Embedder;
};

export type LoadListener = {
  readonly onProgress: (progress: number) => void;
  readonly onLog: (level: 'warn' | 'error', message: string) => void;
};

/** Throws with a reason that an operator understands when the file is missing, is no GGUF or cannot be loaded. */
export async function loadModel(config: LlamaModelConfig, listener: LoadListener): Promise<LoadedModel> {
  await requireGguf(config.modelPath);
  const llama = await getLlama({
    gpu: false,
    build: 'never',
    skipDownload: true,
    progressLogs: false,
    maxThreads: config.threads,
    logLevel: LlamaLogLevel.warn,
    logger: (level, message) => {
      if (level === LlamaLogLevel.error || level === LlamaLogLevel.fatal) listener.onLog('error', message.trimEnd());
    },
  });
  const model = await llama.loadModel({
    modelPath: config.modelPath,
    gpuLayers: 0,
    onLoadProgress: listener.onProgress,
  });
  const contextTokens = Math.min(config.contextTokens, model.trainContextSize);
  const context = await model.createContext({
    sequences: config.sequences,
    contextSize: contextTokens,
    batchSize: Math.max(config.batchTokens, config.sequences),
    threads: config.threads,
    failedCreationRemedy: false,
    // llama.cpp's flash attention rounds differently by the number of tokens in a chunk, so an answer would depend on what the cache held
    // and on the load: the same seed could not give the same answer. Without it, it does (see llama-engine.test.ts).
    flashAttention: false,
  });
  const release = await getModuleVersion();
  const native = config.binding === 'auto' ? nativeBatchDecoder(context, release, contextTokens) : null;
  if (native === null && config.binding === 'auto') {
    listener.onLog('warn', `node-llama-cpp ${release} is not known to the fast path; its public interface is used`);
  }
  const vocabulary = vocabularyOf(model);
  return {
    facts: {
      systemFingerprint: await fingerprintOf(model, config.modelPath, llama.llamaCppRelease.release),
      contextTokens,
      sequences: config.sequences,
      binding: native === null ? 'public' : 'native',
    },
    vocabulary,
    prompt: promptOf(model, vocabulary, contextTokens, listener),
    decoder: native ?? publicBatchDecoder(context, contextTokens),
    embedder: new Embedder({ model, vocabulary, contextTokens, batchTokens: config.batchTokens, threads: config.threads }),
  };
}

async function requireGguf(path: string): Promise<void> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    throw new Error(error.code === 'ENOENT' ? `there is no file ${path}` : `${path} cannot be read: ${error.message}`);
  });
  try {
    const { buffer } = await file.read(Buffer.alloc(GGUF_MAGIC.length), 0, GGUF_MAGIC.length, 0);
    if (buffer.toString('latin1') !== GGUF_MAGIC) throw new Error(`${path} is not a GGUF file`);
  } finally {
    await file.close();
  }
}

function promptOf(model: LlamaModel, vocabulary: Vocabulary, contextTokens: number, listener: LoadListener): ChatPrompt {
  const template = model.fileInfo.metadata.tokenizer?.chat_template ?? null;
  try {
    return new ChatPrompt({ vocabulary, contextTokens, template });
  } catch (error) {
    listener.onLog('warn', `the model's chat template cannot be read, ChatML is used: ${(error as Error).message}`);
    return new ChatPrompt({ vocabulary, contextTokens, template: null });
  }
}

function vocabularyOf(model: LlamaModel): Vocabulary {
  const { tokens: spellings, token_type: types } = model.fileInfo.metadata.tokenizer.ggml;
  const isControl = (type: number | undefined) => type === TOKEN_TYPE_CONTROL || type === TOKEN_TYPE_UNKNOWN;
  const spelling = (token: number) => String(spellings[token] ?? '');
  const controlSpellings: string[] = [];
  for (let token = 0; token < spellings.length; token += 1) if (isControl(types?.[token])) controlSpellings.push(spelling(token));
  const { bos, eos, bosString, eosString, shouldPrependBosToken } = model.tokens;
  return {
    tokenize: (text, parseControl) => Uint32Array.from(model.tokenize(text, parseControl)),
    detokenize: (tokens) => model.detokenize(Array.from(tokens) as Token[]),
    spelling,
    isToken: (token) => token < spellings.length,
    isEnd: (token) => token === eos || model.isEogToken(token as Token),
    beginToken: shouldPrependBosToken ? bos : null,
    startToken: bos ?? eos,
    controlSpellings,
    beginText: bosString ?? '',
    endText: eosString ?? '',
  };
}

/** Such as `fp_farebox-tiny_q8_0_3f9c21ab_llamacpp-b7411`: name, quantisation, file and runtime, so that it changes when answers may. */
async function fingerprintOf(model: LlamaModel, path: string, release: string): Promise<string> {
  const name = model.fileInfo.metadata.general?.name ?? basename(path, '.gguf');
  // "llama 8B Q4_K - Medium"; what stands behind the size is the quantisation.
  const quantisation = model.typeDescription.split(' ').slice(2).join(' ');
  const parts = [name, quantisation, await hashOf(path), `llamacpp-${release}`];
  return `fp_${parts
    .map((part) =>
      part
        .toLowerCase()
        .replace(/[^a-z0-9._]+/g, '-')
        .replace(/^-|-$/g, ''),
    )
    .join('_')}`;
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256').update(String((await stat(path)).size));
  for await (const chunk of createReadStream(path, { end: FINGERPRINT_BYTES_MAX - 1 })) hash.update(chunk as Buffer);
  return hash.digest('hex').slice(0, FINGERPRINT_DIGITS);
}
