/** A message of the bus as a Kafka record and back: the key as it is, the value as JSON, the type in a header of its own. */
import type { IHeaders, KafkaMessage, Message as KafkaRecord } from 'kafkajs';
import type { JsonObject } from '../../contract/envelope.js';
import type { Message } from '../message-bus.js';

/** Not a name that a publisher would choose for a header of its own. */
const TYPE_HEADER = 'farebox-type';

/** What a record takes besides its texts: offsets, lengths, checksums; a little more than it really is. */
const RECORD_OVERHEAD_BYTES = 64;

export type EncodedRecord = { readonly record: KafkaRecord; readonly bytes: number };

export function encodeRecord(message: Message): EncodedRecord {
  const value = JSON.stringify(message.value);
  let bytes = RECORD_OVERHEAD_BYTES + Buffer.byteLength(value) + Buffer.byteLength(message.key) + TYPE_HEADER.length + message.type.length;
  const headers: Record<string, string> = { [TYPE_HEADER]: message.type };
  for (const name in message.headers) {
    const header = message.headers[name] as string;
    headers[name] = header;
    bytes += name.length + Buffer.byteLength(header);
  }
  return { record: { key: message.key, value, headers }, bytes };
}

/** `null` when the record is not one of ours: no type, no value, or a value that is not a JSON object. */
export function decodeRecord(record: KafkaMessage): Message | null {
  const type = textOf(record.headers?.[TYPE_HEADER]);
  if (type === undefined || record.value === null) return null;
  const value = parseObject(record.value);
  if (value === null) return null;
  return { key: record.key?.toString() ?? '', type, headers: headersOf(record.headers as IHeaders), value };
}

function headersOf(recorded: IHeaders): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const name in recorded) {
    const text = name === TYPE_HEADER ? undefined : textOf(recorded[name]);
    if (text !== undefined) headers[name] = text;
  }
  return headers;
}

/** A header that was given several times counts as its first. */
function textOf(header: IHeaders[string]): string | undefined {
  const first = Array.isArray(header) ? header[0] : header;
  return first?.toString();
}

function parseObject(json: Buffer): JsonObject | null {
  try {
    const value: unknown = JSON.parse(json.toString());
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : null;
  } catch {
    return null;
  }
}
