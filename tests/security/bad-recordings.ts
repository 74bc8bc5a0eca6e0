/** What a client can get wrong with a recording: forms that are none, files that are none, and three hours of sound. */
import type { Call } from '../support/http-client.js';
import { waveFile } from '../support/wave-file.js';
import type { BadInput } from './bad-input.js';

const PATH = '/v1/audio/transcriptions';
const BOUNDARY = 'farebox-boundary';
const TYPE = `multipart/form-data; boundary=${BOUNDARY}`;
const WAVE_HEADER_BYTES = 44;
const THREE_HOURS_SECONDS = 3 * 60 * 60;
/** As much as fits into an upload of 25 MB for three hours. */
const LOW_SAMPLES_PER_SECOND = 2_000;
const FILE_BYTES_BEYOND = 26 * 1024 * 1024;

type Part = { readonly name: string; readonly content: string | Buffer; readonly fileName?: string };

const file = (content: string | Buffer, fileName = 'talk.wav'): Part => ({ name: 'file', content, fileName });
const sent = (raw: string | Buffer, type = TYPE): Call => ({ raw, headers: [['Content-Type', type]] });

function form(parts: readonly Part[]): Buffer {
  const pieces = parts.flatMap(({ name, content, fileName }) => {
    const ofFile = fileName === undefined ? '' : `; filename="${fileName}"\r\nContent-Type: application/octet-stream`;
    return [
      Buffer.from(`--${BOUNDARY}\r\nContent-Disposition: form-data; name="${name}"${ofFile}\r\n\r\n`),
      Buffer.from(content),
      Buffer.from('\r\n'),
    ];
  });
  return Buffer.concat([...pieces, Buffer.from(`--${BOUNDARY}--\r\n`)]);
}

/** Eight bits and a low rate. */
function threeHours(): Buffer {
  const header = waveFile(0);
  const dataBytes = THREE_HOURS_SECONDS * LOW_SAMPLES_PER_SECOND;
  header.writeUInt32LE(WAVE_HEADER_BYTES - 8 + dataBytes, 4);
  header.writeUInt32LE(LOW_SAMPLES_PER_SECOND, 24);
  header.writeUInt32LE(LOW_SAMPLES_PER_SECOND, 28);
  header.writeUInt16LE(1, 32);
  header.writeUInt16LE(8, 34);
  header.writeUInt32LE(dataBytes, 40);
  return Buffer.concat([header, Buffer.alloc(dataBytes, 0x80)]);
}

/** Says that it holds three hours and holds a second. */
function boastful(): Buffer {
  const wave = waveFile(1);
  wave.writeUInt32LE(THREE_HOURS_SECONDS * 32_000, 40);
  return wave.subarray(0, WAVE_HEADER_BYTES + 100);
}

export function badRecordings(model: string, chatModel: string): readonly BadInput[] {
  const ofModel: Part = { name: 'model', content: model };
  const wave = file(waveFile(1));
  const bad = (name: string, parts: readonly Part[], names: string): BadInput => ({
    name: `recording: ${name}`,
    path: PATH,
    call: sent(form(parts)),
    status: 400,
    code: 'invalid_request',
    names,
  });
  const field = (name: string, content: string): BadInput =>
    bad(`${name} ${JSON.stringify(content.slice(0, 20))}`, [ofModel, { name, content }, wave], name);
  return [
    bad('no file', [ofModel], 'file'),
    bad('a file that is a field', [ofModel, { name: 'file', content: 'RIFF' }], 'file'),
    bad('two files', [ofModel, wave, wave], 'file'),
    bad('a file under another name', [ofModel, { ...wave, name: 'audio' }], 'audio'),
    bad('no model', [wave], 'model'),
    bad('a model as a file', [{ ...ofModel, fileName: 'model.txt' }, wave], 'model'),
    bad('two models', [ofModel, ofModel, wave], 'model'),
    bad('a model that does not hear', [{ name: 'model', content: chatModel }, wave], 'model'),
    bad('a field of 17 KB', [ofModel, { name: 'prompt', content: 'x'.repeat(17 * 1024) }, wave], 'prompt'),
    bad('33 parts', [...Array.from({ length: 33 }, (_, index) => ({ name: `x${index}`, content: '' })), wave], 'parts'),
    field('language', 'klingon'),
    field('language', '__proto__'),
    field('temperature', '2'),
    field('temperature', 'NaN'),
    field('response_format', 'pdf'),
    field('stream', 'true'),
    field('timestamp_granularities[]', 'word'),
    bad('a text named .mp3', [ofModel, file('Dear diary, today I recorded nothing.\n'.repeat(200), 'talk.mp3')], 'file'),
    bad('a page named .wav', [ofModel, file('<!doctype html><title>no sound</title>')], 'file'),
    bad('an empty file', [ofModel, file('')], 'file'),
    bad('a header and nothing more', [ofModel, file(waveFile(1).subarray(0, 20))], 'file'),
    bad('a file that boasts of three hours', [ofModel, file(boastful().subarray(0, WAVE_HEADER_BYTES))], 'file'),
    bad('three hours', [ofModel, file(threeHours())], '30 minutes'),
    {
      name: 'recording: an unknown model',
      path: PATH,
      call: sent(form([{ name: 'model', content: 'whisper-9' }, wave])),
      status: 404,
      code: 'model_not_found',
      names: 'whisper-9',
    },
    {
      name: 'recording: more than 25 MB',
      path: PATH,
      call: sent(form([ofModel, file(Buffer.alloc(FILE_BYTES_BEYOND))])),
      status: 413,
      code: 'body_too_large',
    },
    {
      name: 'recording: JSON',
      path: PATH,
      call: { json: { model, file: Buffer.from('RIFF').toString('base64') } },
      status: 415,
      code: 'unsupported_media_type',
    },
    ...[
      ['no boundary', sent('x', 'multipart/form-data')],
      ['another boundary', sent(form([ofModel, wave]), 'multipart/form-data; boundary=other')],
      ['a form cut in the middle', sent(form([ofModel, wave]).subarray(0, 400))],
      ['noise', sent(Buffer.alloc(5_000, 0xfe))],
      ['nothing at all', sent('')],
    ].map(
      ([name, call]): BadInput => ({
        name: `recording: ${name as string}`,
        path: PATH,
        call: call as Call,
        status: name === 'no boundary' ? 415 : 400,
        code: name === 'no boundary' ? 'unsupported_media_type' : 'invalid_request',
      }),
    ),
  ];
}
