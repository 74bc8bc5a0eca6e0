/** Presets made for a test: one that exists, changed, as a file of its own. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { packageFile } from '../../platform/package-root.js';

// biome-ignore lint/suspicious/noExplicitAny: the deployment validates the file; a wrong change fails its start
export type PresetYaml = any;

/** Writes `presets/<name>.yaml` as `change` leaves it into `directory`. Returns the path, for `FAREBOX_PRESET`. */
export function writePreset(directory: string, name: string, change: (preset: PresetYaml) => void): string {
  const preset = parse(readFileSync(packageFile(`presets/${name}.yaml`), 'utf8'));
  change(preset);
  const path = join(directory, `${name}-for-tests.yaml`);
  writeFileSync(path, stringify(preset));
  return path;
}

/** Limits that no test meets by accident. */
export function liftLimits(preset: PresetYaml): void {
  const many = 1_000_000;
  preset.limits = {
    sliding_window: { requests_per_minute: many, burst: many },
    concurrent_requests: 10_000,
    headers: ['simple'],
  };
}
