/**
 * Which environment variables each process of Farebox knows, and which it cannot start without: read out of the sources, because a schema lies
 * in an entry file, which cannot be imported without starting it.
 */
import { readFileSync } from 'node:fs';
import { packageFile } from '../../platform/package-root.js';

export type KnownSettings = { readonly known: ReadonlySet<string>; readonly required: ReadonlySet<string> };

/** Objects of settings that schemas spread, and where they are. */
const SHARED: Readonly<Record<string, string>> = {
  SERVER_SETTINGS: 'platform/settings.ts',
  ENGINE_SETTINGS: 'services/inference/engine-settings.ts',
  TRANSPORT_SETTINGS: 'services/api/plain-http.ts',
  MEDIA_SERVICE_SETTINGS: 'services/api/media/media-service.ts',
  MEDIA_SOURCE_SETTINGS: 'services/inference/whisper/media-settings.ts',
  SIGNING_SETTINGS: 'services/api/verification/signing-settings.ts',
  PAYMENT_SETTINGS: 'services/api/payments/payment-settings.ts',
};

/** Readers of settings of their own, and where they are. */
const READERS: Readonly<Record<string, { readonly file: string; readonly pattern: RegExp; readonly required: readonly string[] }>> = {
  kafkaSettingsFromEnvironment: { file: 'events/bus/kafka/kafka-settings.ts', pattern: /\bKAFKA_[A-Z_]+/g, required: ['KAFKA_BROKERS'] },
  eventStoreDbFromEnvironment: {
    file: 'events/store/eventstoredb/connection-settings.ts',
    pattern: /\bESDB_[A-Z_]+/g,
    required: [],
  },
};

/** What makes a variable optional: `setting(…)` takes an empty one for an unset one and gives a default, as `portText` does. */
const OPTIONAL_MAKERS = ['setting', 'portText'];

export function settingsOf(entryFile: string): KnownSettings {
  const source = read(entryFile);
  const known = new Set<string>();
  const required = new Set<string>();
  const add = (text: string) => {
    for (const [, name = '', maker = ''] of text.matchAll(/(?<=[\s{,])([A-Z][A-Z0-9_]+):\s*([A-Za-z]+)/g)) {
      known.add(name);
      if (!OPTIONAL_MAKERS.includes(maker)) required.add(name);
    }
  };
  const schema = objectAfter(source, 'SettingsSchema = z.object(');
  add(schema);
  for (const [, shared = ''] of schema.matchAll(/\.\.\.([A-Z_]+)/g)) {
    const file = SHARED[shared];
    if (file === undefined) throw new Error(`${entryFile} spreads ${shared}, whose file is not known here`);
    add(objectAfter(read(file), `${shared} = `));
  }
  for (const [reader, { file, pattern, required: needed }] of Object.entries(READERS)) {
    if (!source.includes(`${reader}(`)) continue;
    for (const [name] of read(file).matchAll(pattern)) known.add(name);
    for (const name of needed) required.add(name);
  }
  return { known, required };
}

/** The object literal that follows `start`, without comments. */
function objectAfter(source: string, start: string): string {
  const from = source.indexOf('{', source.indexOf(start));
  if (!source.includes(start) || from < 0) throw new Error(`no ${start}`);
  let depth = 0;
  for (let at = from; at < source.length; at += 1) {
    if (source[at] === '{') depth += 1;
    if (source[at] === '}') depth -= 1;
    if (depth === 0) return source.slice(from, at + 1);
  }
  throw new Error(`no end of ${start}`);
}

function read(file: string): string {
  return readFileSync(packageFile(file), 'utf8').replace(/\/\*[\s\S]*?\*\//g, '');
}
