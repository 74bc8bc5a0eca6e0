/** A message survives the way through a record; what others wrote is recognised as not ours. */
import { expect, test } from '@jest/globals';
import type { KafkaMessage } from 'kafkajs';
import type { Message } from '../message-bus.js';
import { decodeRecord, encodeRecord } from './kafka-record.js';

/** As it comes from the broker: everything is bytes. */
function received({ key, value, headers }: { key?: unknown; value: unknown; headers?: object }): KafkaMessage {
  const bytes = (text: unknown) => (text === null || text === undefined ? null : Buffer.from(String(text)));
  const entries = Object.entries(headers ?? {}).map(([name, text]) => [name, Buffer.from(String(text))]);
  const base = { timestamp: '0', attributes: 0, offset: '0' };
  return { ...base, key: bytes(key), value: bytes(value), headers: Object.fromEntries(entries) } as KafkaMessage;
}

test('a message comes back as it was', () => {
  const message: Message = {
    key: 'konto ü',
    type: 'Counted',
    headers: { type: 'mine', n: '1' },
    value: { text: 'é✓', list: [1, null, { a: true }] },
  };
  const { record, bytes } = encodeRecord(message);
  expect(decodeRecord(received(record))).toEqual(message);
  expect(bytes).toBeGreaterThan(Buffer.byteLength(JSON.stringify(message.value)) + Buffer.byteLength(message.key));
});

test.each([
  ['without a type', { key: 'k', value: '{}' }],
  ['without a value', { key: 'k', value: null, headers: { 'farebox-type': 'T' } }],
  ['that is not JSON', { key: 'k', value: '{', headers: { 'farebox-type': 'T' } }],
  ['that is not an object', { key: 'k', value: '[1]', headers: { 'farebox-type': 'T' } }],
])('a record %s is not one of ours', (_name, record) => {
  expect(decodeRecord(received(record))).toBeNull();
});
