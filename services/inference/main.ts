/**
 * One inference worker of the distributed deployment: an engine for the runs of one pool. It takes work when its model is loaded and warm, says
 * every second that it is there, and leaves in order: nothing new, what it has ends, then it goes.
 */
import { z } from 'zod';
import { createKafkaBus, kafkaSettingsFromEnvironment } from '../../events/bus/kafka/kafka-bus.js';
import { DEFAULT_POOL } from '../../events/contract/index.js';
import { failpointsFrom } from '../../events/failpoints.js';
import { systemClock } from '../../platform/clock.js';
import { randomIdSource } from '../../platform/id-source.js';
import { startOperationsServer } from '../../platform/operations-server.js';
import { runService } from '../../platform/run-service.js';
import { eventLoopScheduler } from '../../platform/scheduler.js';
import { poolText, portText, readEnvironment, SERVER_SETTINGS, setting } from '../../platform/settings.js';
import { loadPreset } from '../../presets/load-preset.js';
import { ENGINE_SETTINGS, engineSettingsOf } from './engine-settings.js';
import { announcePresence } from './presence.js';
import { type ServingEngines, startEngines } from './serving.js';
import { MEDIA_SOURCE_SETTINGS, mediaSourceOf } from './whisper/media-settings.js';
import { startTranscriber } from './whisper/start-transcriber.js';
import { RUNS_MAX } from './worker.js';

const SettingsSchema = z.object({
  ...SERVER_SETTINGS,
  ...ENGINE_SETTINGS,
  ...MEDIA_SOURCE_SETTINGS,
  PORT: portText(8083),
  FAREBOX_PRESET: setting(z.string().default('farebox')),
  FAREBOX_POOL: setting(poolText.default(DEFAULT_POOL)),
});

/** Runs under way get this long to end after a signal; what is left then fails as retryable. Orchestrators kill after 30 s by default. */
const DRAIN_MS_MAX = 12_000;
const CONNECTION_DRAIN_MS = 500;

await runService('inference', async ({ environment, logger, metrics, shutdown }) => {
  const settings = readEnvironment(SettingsSchema, environment);
  const kafka = kafkaSettingsFromEnvironment(environment, 'farebox-inference');
  const preset = loadPreset(settings.FAREBOX_PRESET);
  const pool = settings.FAREBOX_POOL;
  const workerId = randomIdSource(systemClock).next('ins');
  const failpoints = failpointsFrom(environment);
  const kafkaBus = createKafkaBus({ settings: kafka, logger });
  const bus = failpoints?.wrapBus(kafkaBus) ?? kafkaBus;
  shutdown.push('bus', () => bus.close());

  const started: { engines: ServingEngines | null } = { engines: null };
  const server = await startOperationsServer({
    host: settings.FAREBOX_HOST,
    port: settings.PORT,
    metrics,
    logger,
    readiness: async () => {
      const { engines } = started;
      const reasons: string[] = [];
      if (engines === null) reasons.push('the model is loading');
      else if (engines.live.state().status !== 'ready') reasons.push(`the engine is ${engines.live.state().status}`);
      if (!(await bus.isReady())) reasons.push('the bus cannot be reached');
      return { ready: reasons.length === 0, reasons };
    },
  });
  shutdown.push('http server', () => server.stop(CONNECTION_DRAIN_MS));

  const mediaSource = mediaSourceOf(settings);
  // Without a way to get at recordings nothing is said to hear them.
  const transcriber = mediaSource === null ? null : await startTranscriber({ settings: engineSettingsOf(settings), preset, logger });
  const engines = await startEngines({
    settings: engineSettingsOf(settings),
    ...(mediaSource === null ? {} : { mediaSource }),
    ...(transcriber === null ? {} : { transcriber }),
    preset,
    environment,
    bus,
    pools: [pool],
    workerId,
    logger,
    metrics,
    tellsStarts: true,
    takesWorkWhenWarm: true,
  });
  started.engines = engines;
  shutdown.push('engines', () => engines.stop(DRAIN_MS_MAX));
  const presence = announcePresence({
    bus,
    scheduler: eventLoopScheduler,
    describe: () => ({
      workerId,
      pool,
      status: engines.live.state().status === 'ready' ? 'ready' : 'loading',
      models: engines.served(),
      testEngine: engines.testEngine,
      runs: engines.runs(),
      runsMax: RUNS_MAX,
    }),
    onError: (error) => logger.warn({ err: error }, 'presence not announced'),
  });
  // Unwound before the engines: from here on no API counts on this worker, while its signs go on until its runs have ended.
  shutdown.push('presence', () => presence.leave());
  logger.info({ workerId, pool, models: engines.served().length }, 'takes work');
  return server;
});
