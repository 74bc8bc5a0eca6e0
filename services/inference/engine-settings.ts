/** Which engine a process runs and how: the part of its settings that embedded and distributed workers share. */
import { z } from 'zod';
import { integerText, setting } from '../../platform/settings.js';

export const ENGINES = ['tiny', 'echo', 'llama', 'upstream'] as const;

export const ENGINE_SETTINGS = {
  FAREBOX_DATA_DIR: setting(z.string().default('.farebox')),
  FAREBOX_ENGINE: setting(z.enum(ENGINES).default('tiny')),
  FAREBOX_MODEL_DIR: setting(z.string().optional()),
  /** Which of the preset's models is loaded here, as `<model>` or `<model>@<quantization>`: by `llama`, the first with weights by default; by `upstream`, none. */
  FAREBOX_MODEL: setting(z.string().optional()),
  FAREBOX_ENGINE_THREADS: setting(integerText(1, 256).optional()),
  FAREBOX_ENGINE_SEQUENCES: setting(integerText(1, 256).default(8)),
  FAREBOX_ENGINE_QUEUE_MAX: setting(integerText(0, 100_000).default(256)),
};

export type EngineSettings = {
  readonly engine: (typeof ENGINES)[number];
  readonly modelDirectory: string;
  readonly model: string | undefined;
  readonly engineThreads: number | undefined;
  readonly engineSequences: number;
  readonly engineQueueMax: number;
};

const Schema = z.object(ENGINE_SETTINGS);

export function engineSettingsOf(settings: z.infer<typeof Schema>): EngineSettings {
  return {
    engine: settings.FAREBOX_ENGINE,
    modelDirectory: settings.FAREBOX_MODEL_DIR ?? `${settings.FAREBOX_DATA_DIR}/models`,
    model: settings.FAREBOX_MODEL,
    engineThreads: settings.FAREBOX_ENGINE_THREADS,
    engineSequences: settings.FAREBOX_ENGINE_SEQUENCES,
    engineQueueMax: settings.FAREBOX_ENGINE_QUEUE_MAX,
  };
}
