/** One service of the distributed deployment as a child process, on a port that stays its own when it is started again. */
import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { packageFile } from '../../platform/package-root.js';

export type ServiceName = 'api' | 'ledger' | 'projector' | 'inference';

/** A first start migrates and joins groups, on a machine whose cores are busy. */
const READY_TIMEOUT_MS = 90_000;
const READY_POLL_MS = 50;

/** Ended with the benchmark however that ends. */
const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class ServiceChild {
  readonly name: ServiceName;
  readonly #environment: Readonly<Record<string, string>>;
  #child: ChildProcess;
  #port: string | null = null;

  /** `port`: a free one where the process takes it, by default. */
  constructor(name: ServiceName, environment: Readonly<Record<string, string>>, port = '0') {
    this.name = name;
    this.#environment = environment;
    this.#child = this.#spawn(port);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get url(): string {
    if (this.#port === null) throw new Error(`${this.name} does not listen yet`);
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Resolves when the process says where it listens. */
  async listening(): Promise<void> {
    await this.#until('listens', async () => this.#port !== null);
  }

  /** Resolves when `/readyz` answers 200. */
  async ready(): Promise<void> {
    await this.listening();
    await this.#until('is ready', async () => (await fetch(`${this.url}/readyz`).catch(() => null))?.status === 200);
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Resolves when the process is gone. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise<void>((resolve) => {
      child.once('exit', () => resolve());
    });
    child.kill(signal);
    await exited;
  }

  /** Starts it again at the same address, as an orchestrator does with one that died. */
  startAgain(): void {
    this.#child = this.#spawn(this.#port ?? '0');
  }

  #spawn(port: string): ChildProcess {
    const main = fileURLToPath(packageFile(`dist/services/${this.name}/main.js`));
    const env = { ...process.env, ...this.#environment, PORT: port };
    const child = spawn(process.execPath, [main], { stdio: ['ignore', 'pipe', 'inherit'], env });
    running.add(child);
    child.once('exit', () => running.delete(child));
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#port ??= /listens on port (\d+)/.exec(text)?.[1] ?? null;
    });
    return child;
  }

  async #until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
    const deadlineMs = performance.now() + READY_TIMEOUT_MS;
    while (!(await isTrue())) {
      if (this.#child.exitCode !== null) throw new Error(`${this.name} ended before it ${what}`);
      if (performance.now() > deadlineMs) throw new Error(`${this.name}: not so after ${READY_TIMEOUT_MS} ms: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS));
    }
  }
}
