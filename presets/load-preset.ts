/** Reads a preset by name or from a path. Every fault of the file is reported at once, by its place in the file. */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { z } from 'zod';
import { packageFile } from '../platform/package-root.js';
import { type Preset, PresetSchema } from './preset-schema.js';

export class PresetError extends Error {
  override readonly name = 'PresetError';
}

/** `nameOrPath` is a bundled preset's name (`hunt`) or the path of a `.yaml` file. */
export function loadPreset(nameOrPath: string): Preset {
  const isPath = /[\\/]|\.ya?ml$/i.test(nameOrPath);
  const location = isPath ? nameOrPath : packageFile(`presets/${nameOrPath}.yaml`);
  let text: string;
  try {
    text = readFileSync(location, 'utf8');
  } catch {
    throw new PresetError(`preset ${nameOrPath} cannot be read from ${location.toString()}`);
  }
  return parsePreset(text, nameOrPath);
}

export function parsePreset(text: string, source: string): Preset {
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    throw new PresetError(`preset ${source} is not YAML: ${(error as Error).message}`);
  }
  const result = PresetSchema.safeParse(document);
  if (!result.success) throw new PresetError(`preset ${source} is not valid:\n${z.prettifyError(result.error)}`);
  return result.data;
}
