/** `farebox models list` and `farebox models pull <id>`: which weights are here, and how they get here. */
import { loadPreset } from '../../../presets/load-preset.js';
import { listModels as modelListings } from '../../inference/models/list.js';
import { ModelPullError, pullModel as pullWeights } from '../../inference/models/pull.js';
import { readSettings } from '../settings.js';

const EXIT_FAILED = 1;
const BAR_CHARACTERS = 30;
const MEGABYTE = 1024 * 1024;

export async function listModels(environment: NodeJS.ProcessEnv): Promise<number> {
  const { preset, modelDirectory } = readSettings(environment);
  const listings = await modelListings(loadPreset(preset).models, modelDirectory);
  const width = Math.max(...listings.map(({ id }) => id.length));
  for (const { id, uri, isPresent, sizeBytes } of listings) {
    const state = uri === null ? 'bundled' : isPresent ? `here, ${megabytes(sizeBytes ?? 0)}` : 'not pulled';
    process.stdout.write(`${id.padEnd(width)}  ${state.padEnd(14)}  ${uri ?? ''}\n`);
  }
  return 0;
}

export async function pullModel(environment: NodeJS.ProcessEnv, id: string): Promise<number> {
  const { preset: presetName, modelDirectory } = readSettings(environment);
  const preset = loadPreset(presetName);
  const model = preset.models.find((candidate) => candidate.id === id);
  if (model === undefined) {
    process.stderr.write(`the preset ${preset.name} has no model ${id}; see: farebox models list\n`);
    return EXIT_FAILED;
  }
  try {
    const { path, sizeBytes, wasPresent } = await pullWeights({ model, modelDirectory, onProgress: showProgress });
    process.stdout.write(`${wasPresent ? 'already here' : '\npulled'}: ${path} (${megabytes(sizeBytes)})\n`);
    return 0;
  } catch (error) {
    if (!(error instanceof ModelPullError)) throw error;
    process.stderr.write(`\n${error.message}\n`);
    return EXIT_FAILED;
  }
}

/** One line that redraws itself; a terminal is assumed to understand a carriage return. */
function showProgress({ downloadedBytes, totalBytes }: { readonly downloadedBytes: number; readonly totalBytes: number }): void {
  const share = totalBytes === 0 ? 0 : downloadedBytes / totalBytes;
  const filled = Math.round(share * BAR_CHARACTERS);
  const bar = `${'#'.repeat(filled)}${'.'.repeat(BAR_CHARACTERS - filled)}`;
  process.stdout.write(`\r[${bar}] ${Math.round(share * 100)} %  ${megabytes(downloadedBytes)} of ${megabytes(totalBytes)}`);
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / MEGABYTE)} MB`;
}
