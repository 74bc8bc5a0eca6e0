/** Starts the servers that are measured, each as a process of its own. */
import { type ChildProcess, fork, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parse, stringify } from 'yaml';
import { packageFile } from '../../platform/package-root.js';

export type MeasuredServer = { readonly baseUrl: string; readonly headers: Readonly<Record<string, string>>; stop(): Promise<void> };

const READY_POLL_MS = 50;
const ADMIN_KEY = 'benchmark-admin-key-benchmark';

/** The default preset without rate limits, so that they are not what is measured. */
export function unlimitedPreset(): Record<string, unknown> {
  const preset = parse(readFileSync(packageFile('presets/farebox.yaml'), 'utf8')) as Record<string, unknown>;
  return { ...preset, limits: { headers: (preset['limits'] as { headers: string[] }).headers } };
}

export async function startBareExpress(): Promise<MeasuredServer> {
  const child = fork(new URL('./bare-express.js', import.meta.url));
  const { port } = await new Promise<{ port: number }>((resolve, reject) => {
    child.once('message', (message) => resolve(message as { port: number }));
    child.once('error', reject);
  });
  return { baseUrl: `http://127.0.0.1:${port}`, headers: {}, stop: () => ended(child, 'SIGTERM') };
}

/** The embedded Farebox with a demo project whose credit does not run out. */
export async function startFarebox(
  engine: 'echo' | 'tiny' | 'llama',
  environment: Readonly<Record<string, string>> = {},
): Promise<MeasuredServer> {
  const directory = mkdtempSync(`${tmpdir()}/farebox-bench-`);
  const presetFile = `${directory}/preset.yaml`;
  writeFileSync(presetFile, stringify(unlimitedPreset()));
  const child = spawn(process.execPath, [fileURLToPath(packageFile('dist/services/standalone/cli.js')), 'start'], {
    env: {
      ...process.env,
      PORT: '0',
      FAREBOX_ENGINE: engine,
      FAREBOX_DATA_DIR: `${directory}/data`,
      FAREBOX_PRESET: presetFile,
      FAREBOX_ADMIN_KEY: ADMIN_KEY,
      LOG_LEVEL: 'warn',
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const welcome = await textUntil(child, 'balances stay');
  const baseUrl = /ready at (http\S+)\/v1/.exec(welcome)?.[1] ?? '';
  const key = /demo key\s+(\S+)/.exec(welcome)?.[1] ?? '';
  while (!(await fetch(`${baseUrl}/readyz`)).ok) await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS));
  await topUp(baseUrl, readFileSync(`${directory}/data/demo-project`, 'utf8').trim());
  return {
    baseUrl,
    headers: { authorization: `Bearer ${key}` },
    async stop() {
      await ended(child, 'SIGINT');
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function topUp(baseUrl: string, projectId: string): Promise<void> {
  const response = await fetch(`${baseUrl}/v1/admin/grants`, {
    method: 'POST',
    headers: { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' },
    body: JSON.stringify({ project_id: projectId, amount: '1000000', kind: 'top_up', reason: 'benchmark' }),
  });
  if (!response.ok) throw new Error(`top-up refused: ${await response.text()}`);
}

function textUntil(child: ChildProcess, marker: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes(marker)) resolve(text);
    });
    child.once('exit', (code) => reject(new Error(`server ended with ${code} before it was ready:\n${text}`)));
  });
}

function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null) resolve();
    else child.once('exit', () => resolve());
    child.kill(signal);
  });
}
