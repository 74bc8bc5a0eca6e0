/**
 * `npm run test:arm64`: runs the inference worker as an ARM64 program, emulated where the machine is none, gives it jobs over the bus, and
 * checks that text and token counts come back as they do on the machine's own architecture.
 *
 * Exit code 0 when all holds, and also when this machine cannot run it, which the last line says; 1 when something is wrong, or when it
 * cannot run and FAREBOX_ARM64_REQUIRED=1. FAREBOX_ARM64_CACHE is where the emulator is kept, `.farebox-arm64` beside package.json by default.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { packageFile } from '../../platform/package-root.js';
import { registerBinfmt } from './binfmt.js';
import { checksOf, countOf, isSame } from './checks.js';
import { CannotRunError, emulatorIn } from './emulator.js';
import { type JobReport, JobReportSchema } from './job-report.js';

const run = promisify(execFile);

/** Half a minute on an idle machine under emulation. */
const JOBS_TIMEOUT_MS = 300_000;
const REPORT_BYTES_MAX = 1024 * 1024;

const MACHINES = ['linux x64', 'linux arm64'];
/** An optional dependency of node-llama-cpp in its own version, which npm installs on x64 too. */
const LLAMA_FOR_ARM64 = 'node_modules/@node-llama-cpp/linux-arm64';
const PROGRAM = fileURLToPath(new URL('./run-jobs.js', import.meta.url));
const CACHE = resolve(process.env['FAREBOX_ARM64_CACHE'] || fileURLToPath(packageFile('.farebox-arm64')));

const stopped = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopped.abort());

const say = (line: string) => void process.stdout.write(`${line}\n`);
const seconds = (durationMs: number) => `${(durationMs / 1_000).toFixed(1)} s`;
const startedAtMs = performance.now();
const elapsed = () => seconds(performance.now() - startedAtMs);

try {
  const failures = await testArm64();
  if (failures > 0) process.exitCode = 1;
  say(failures === 0 ? `test:arm64 PASSED in ${elapsed()}` : `test:arm64 FAILED: ${failures} of the guarantees above do not hold`);
} catch (error) {
  // What was stopped may look as if something were missing.
  const isSkipped = error instanceof CannotRunError && !stopped.signal.aborted && process.env['FAREBOX_ARM64_REQUIRED'] !== '1';
  process.exitCode = isSkipped ? 0 : 1;
  const reason = error instanceof CannotRunError ? error.message : ((error as Error).stack ?? String(error));
  const line = '*'.repeat(100);
  if (isSkipped) say(`${line}\ntest:arm64 SKIPPED, nothing was tested on ARM64: ${reason}\n${line}`);
  else say(`test:arm64 FAILED after ${elapsed()}: ${reason}`);
}

/** The number of guarantees that do not hold. */
async function testArm64(): Promise<number> {
  const machine = `${process.platform} ${process.arch}`;
  if (!MACHINES.includes(machine)) throw new CannotRunError(`it needs ${MACHINES.join(' or ')}, and this is ${machine}`);
  if (!existsSync(packageFile(LLAMA_FOR_ARM64))) throw new CannotRunError(`there is no ${LLAMA_FOR_ARM64}, which npm ci brings`);
  if (process.arch === 'arm64') say('this machine is ARM64 itself: the worker runs on it, twice, and nothing is emulated');
  const arm64 = process.arch === 'arm64' ? await reportOf(process.execPath) : await emulatedReport();
  const own = await reportOf(process.execPath);
  sayFigures(arm64, own);
  const checks = checksOf(arm64, own);
  for (const { guarantee, holds, seen } of checks) say(holds ? `ok      ${guarantee}` : `FAILED  ${guarantee}; seen: ${seen}`);
  return checks.filter(({ holds }) => !holds).length;
}

async function emulatedReport(): Promise<JobReport> {
  const emulator = await emulatorIn(CACHE, say);
  say(`emulator ${emulator.isFromCache ? 'from' : 'put into'} ${CACHE} (${elapsed()}): ${emulator.contents}`);
  const entry = await registerBinfmt(emulator.interpreter);
  if ('refused' in entry) {
    say(`${entry.refused}: Node and its children are started through a launcher instead`);
    return reportOf(emulator.nodeLauncher);
  }
  say(`binfmt entry ${entry.name} registered with the F flag for the time of the test`);
  try {
    return await reportOf(emulator.node);
  } finally {
    await entry.remove();
    say(`binfmt entry ${entry.name} removed`);
  }
}

/** What the worker's program reports when `node` runs it, with none of this process's settings. Rejects with what it wrote when it fails. */
async function reportOf(node: string): Promise<JobReport> {
  const { PATH, HOME, TMPDIR } = process.env;
  const env = { PATH, HOME, TMPDIR, FAREBOX_ENGINE: 'tiny', FAREBOX_ENGINE_THREADS: '1' };
  const { stdout, stderr } = await run(node, [PROGRAM], {
    env,
    timeout: JOBS_TIMEOUT_MS,
    killSignal: 'SIGKILL',
    maxBuffer: REPORT_BYTES_MAX,
    signal: stopped.signal,
  });
  if (stderr !== '') say(stderr.trimEnd());
  return JobReportSchema.parse(JSON.parse(stdout));
}

function sayFigures(arm64: JobReport, own: JobReport): void {
  const pairs = arm64.jobs.map((here, index) => ({ here, there: own.jobs[index] ?? here }));
  for (const report of [arm64, own]) {
    const kernel = report.nativeFiles.find((path) => path.includes('ggml-cpu')) ?? 'no kernel';
    say(`${report.arch}: Node ${report.nodeVersion}, ${kernel}, ready after ${seconds(report.startMs)}`);
  }
  for (const { here, there } of pairs) {
    const { promptTokens } = here.finished.usage;
    const answers = isSame({ here, there }) ? 'same answer' : `other answer on ${own.arch} (${countOf(there)} tokens)`;
    const rates = [here, there].map((outcome) => `${((countOf(outcome) * 1_000) / outcome.durationMs).toFixed(1)}`);
    const ends = `${here.finished.finishReason}, ${rates[0]} tokens/s on ${arm64.arch}, ${rates[1]} on ${own.arch}`;
    say(`  ${here.name}: ${promptTokens} + ${countOf(here)} tokens, ${ends}, ${answers}`);
  }
}
