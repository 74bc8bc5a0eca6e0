/** OpenAI's SDK for Python, installed once into a folder of the checkout, and the documents' Python examples run with it as they are printed. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { packageFile } from '../../platform/package-root.js';

/** A release of the day this was written; the documents name none. */
const OPENAI_PYTHON_VERSION = '3.54.0';
const run = promisify(execFile);

/** Path of a Python that has the SDK. Rejects where there is no Python 3 with venv, or no package index. */
export async function pythonWithSdk(): Promise<string> {
  const home = fileURLToPath(packageFile(`.farebox-python/${OPENAI_PYTHON_VERSION}`));
  const python = join(home, 'bin', 'python');
  if (existsSync(python)) return python;
  const unfinished = `${home}.${process.pid}`;
  await mkdir(unfinished, { recursive: true });
  try {
    await run('python3', ['-m', 'venv', unfinished]);
    await run(join(unfinished, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', `openai==${OPENAI_PYTHON_VERSION}`], {
      timeout: 300_000,
    });
    // Whole or not at all: a suite beside this one may have been first.
    await rename(unfinished, home).catch(async (error: unknown) => {
      if (!existsSync(python)) throw error;
    });
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
  return python;
}

/** What the script printed. Rejects with its errors when it fails. */
export async function pythonOutput(script: string, environment: Readonly<Record<string, string>> = {}): Promise<string> {
  const { stdout } = await run(await pythonWithSdk(), ['-c', script], { env: { ...process.env, ...environment }, timeout: 120_000 });
  return stdout;
}

/** Whether the examples can be run here; where CI says that it is CI they have to be. */
export async function canRunPython(): Promise<boolean> {
  try {
    await pythonWithSdk();
    return true;
  } catch (error) {
    if (process.env['CI'] === 'true') throw error;
    process.stderr.write(`The documents' Python examples are skipped: ${(error as Error).message}\n`);
    return false;
  }
}
