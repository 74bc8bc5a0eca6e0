/** A form is read whole, however its end and the connection's coincide. */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { describe, expect, test } from '@jest/globals';
import { ByteBudget } from '../../media/byte-budget.js';
import { readMultipart } from './read-multipart.js';

const BOUNDARY = 'b';
const FORM = [
  `--${BOUNDARY}\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n`,
  `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nsound\r\n`,
  `--${BOUNDARY}--\r\n`,
].join('');

/** A request that has come whole, in these pieces, and closes with its end, as Node's may. */
function requestOf(pieces: readonly string[]): IncomingMessage {
  const headers = { 'content-type': `multipart/form-data; boundary=${BOUNDARY}` };
  const request = new Readable({ read() {} });
  for (const piece of pieces) request.push(Buffer.from(piece));
  request.push(null);
  request.once('end', () => request.emit('close'));
  return Object.assign(request, { headers, complete: true }) as unknown as IncomingMessage;
}

const read = (pieces: readonly string[]) =>
  readMultipart(requestOf(pieces), { fileField: 'file', fieldNames: ['model'], budget: new ByteBudget(10_000) });

describe('a form', () => {
  test.each([
    ['in one piece', [FORM]],
    ['in two', [FORM.slice(0, 60), FORM.slice(60)]],
    ['byte by byte', [...FORM]],
  ])('that came whole %s is taken, though the request closes before its parser has told', async (_how, pieces) => {
    const form = await read(pieces);
    expect([form.file.toString(), form.fields.get('model')]).toEqual(['sound', ['m']]);
    form.letGo();
  });

  test.each([
    ['nothing', ['']],
    ['no part', ['noise']],
    ['half a part', [FORM.slice(0, 110)]],
    ['no end', [FORM.slice(0, -8)]],
  ])('of %s is refused', async (_how, pieces) => {
    await expect(read(pieces)).rejects.toMatchObject({ refusal: 'invalid_parameter' });
  });
});
