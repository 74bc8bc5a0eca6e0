/** The writer of events, turn by turn: the test decides when put-off writes happen, on a response without a client. */
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { expect, test } from '@jest/globals';
import { STREAM_BACKLOG_BYTES_MAX, StreamWriter } from './stream-writer.js';

function startWriter() {
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  const writes: string[] = [];
  const socket = { takesMore: true };
  response.write = (chunk: unknown) => {
    writes.push(String(chunk));
    return socket.takesMore;
  };
  response.end = ((chunk: unknown) => {
    writes.push(`${String(chunk)}<end>`);
    return response;
  }) as typeof response.end;
  const deferred: (() => void)[] = [];
  const told: string[] = [];
  const writer = new StreamWriter({
    response,
    scheduler: { defer: (work) => void deferred.push(work), delay: () => () => undefined },
    open: () => {
      told.push('open');
      return '<open>';
    },
    partEvents: ({ text, answer = 0, finishReason = '' }) => `[${answer === 0 ? '' : answer}${text}${finishReason}]`,
    onTooSlow: () => told.push('too slow'),
  });
  const turn = () => {
    for (const work of deferred.splice(0)) work();
  };
  return { response, writer, writes, told, turn, socket };
}

test('all texts of one turn are one write, the opening first', () => {
  const { writer, writes, turn } = startWriter();
  writer.part({ text: 'a' });
  writer.part({ text: 'b' });
  expect(writes).toEqual([]);
  turn();
  writer.part({ text: 'c' });
  turn();
  expect(writes).toEqual(['<open>[a][b]', '[c]']);
});

test('the end takes along what was put off, and opens what was never opened', () => {
  const { writer, writes, told, turn } = startWriter();
  writer.part({ text: 'a' });
  writer.end('<done>');
  writer.part({ text: 'late' });
  turn();
  expect([writes, told]).toEqual([['<open>[a]<done><end>'], ['open']]);
});

test('an abandoned writer neither opens nor writes what was put off: an ordinary refusal has taken the response', () => {
  const { writer, writes, told, turn } = startWriter();
  writer.part({ text: 'a' });
  writer.abandon();
  turn();
  writer.end('<done>');
  expect([writes, told, writer.isOpen]).toEqual([[], [], false]);
});

test('while the socket is full, text gathers into one delta; it leaves with the drain', () => {
  const { response, writer, writes, turn, socket } = startWriter();
  socket.takesMore = false;
  writer.part({ text: 'a' });
  turn();
  writer.part({ text: 'b' });
  writer.part({ text: 'c' });
  turn();
  socket.takesMore = true;
  response.emit('drain');
  expect(writes).toEqual(['<open>[a]', '[bc]']);
});

test('while the socket is full, each of several answers gathers for itself, its end included', () => {
  const { response, writer, writes, turn, socket } = startWriter();
  socket.takesMore = false;
  writer.part({ text: 'a' });
  turn();
  for (const text of ['b', 'c']) for (const answer of [1, 0]) writer.part({ text, answer });
  writer.part({ text: '', answer: 1, finishReason: 'stop' });
  turn();
  socket.takesMore = true;
  response.emit('drain');
  expect(writes).toEqual(['<open>[a]', '[bc][1bcstop]']);
});

test('a reader that does not keep up is given up at the bound', () => {
  const { response, writer, told, turn, socket } = startWriter();
  socket.takesMore = false;
  writer.part({ text: 'a' });
  turn();
  writer.part({ text: 'x'.repeat(STREAM_BACKLOG_BYTES_MAX) });
  turn();
  expect([told, response.destroyed]).toEqual([['open'], false]);
  writer.part({ text: 'x' });
  turn();
  expect([told, response.destroyed]).toEqual([['open', 'too slow'], true]);
});
