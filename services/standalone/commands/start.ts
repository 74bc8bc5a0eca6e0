/** `farebox start`: the embedded deployment, from the first line printed to the last request drained. */
import { failpointsFrom } from '../../../events/failpoints.js';
import { createLogger } from '../../../platform/logging.js';
import { onTerminationSignal } from '../../../platform/shutdown.js';
import { type Embedded, startEmbedded } from '../embedded.js';
import { readSettings } from '../settings.js';

/** Resolves once it is ready; the process then lives until a signal. What is printed for people goes to standard output, the log to standard error. */
export async function start(environment: NodeJS.ProcessEnv): Promise<number> {
  const say = (line: string) => void process.stdout.write(`${line}\n`);
  const settings = readSettings(environment);
  const logger = createLogger({ level: settings.logLevel, name: 'farebox' });
  const embedded = await startEmbedded({
    settings,
    environment,
    logger,
    failpoints: failpointsFrom(environment),
    onProgress: (step) => say(`… ${step}`),
  });
  say(welcome(embedded));
  onTerminationSignal(async () => {
    say('… draining');
    await embedded.stop();
    say('stopped');
  });
  return 0;
}

function welcome({ baseUrl, preset, adminKey, isAdminKeyMade, demoKey, engines }: Embedded): string {
  const model = engines.demoModel;
  const lines = [
    '',
    `${preset.brand.display_name} is ready at ${baseUrl}/v1`,
    `  engine     ${engines.live.systemFingerprint}`,
    `  docs       ${baseUrl}/docs`,
  ];
  if (isAdminKeyMade) lines.push(`  admin key  ${adminKey}`);
  if (demoKey === null) {
    lines.push('  The demo project exists in this database, but its key is not known here. Create a project with POST /v1/projects.');
    return lines.join('\n');
  }
  const body = JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello!' }] });
  lines.push(
    `  demo key   ${demoKey}`,
    '',
    'Try it:',
    '',
    `curl ${baseUrl}/v1/chat/completions \\`,
    `  -H "Authorization: Bearer ${demoKey}" \\`,
    '  -H "Content-Type: application/json" \\',
    `  -d '${body}'`,
    '',
    'Ctrl-C stops it; balances stay.',
  );
  return lines.join('\n');
}
