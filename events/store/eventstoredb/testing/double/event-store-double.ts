/**
 * A stand-in for an EventStoreDB server in a process of its own, for tests: it can be frozen, killed and started again. It proves how the
 * store deals with the protocol and with trouble, not that a real server behaves like it; the same suite runs against one with `ESDB_URL`.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Freeze } from './gate.js';
import type { CertificateFiles } from './test-certificates.js';

export type DoubleMode = 'default' | 'no batch append' | 'no server features';

export type DoubleSettings = {
  readonly mode: DoubleMode;
  /** Where acknowledged appends are kept; `null` keeps them in memory. */
  readonly folder: string | null;
  /** 0 takes a free one. */
  readonly port: number;
  /** `null` serves without TLS. */
  readonly tls: {
    readonly caFile: string;
    readonly server: CertificateFiles;
    /** Refuses connections without a certificate of the authority. */
    readonly needsUserCertificate: boolean;
  } | null;
  /** `name:password` of the only one who may use it; `null` lets everyone. */
  readonly user: string | null;
};

export type DoubleCommand = { readonly id: number } & (
  | { readonly type: 'freeze'; readonly how: Freeze }
  | { readonly type: 'thaw' }
  | { readonly type: 'count' }
);

export type DoubleReport =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'failed'; readonly message: string }
  | { readonly type: 'done'; readonly id: number; readonly held: number; readonly events: number; readonly sent: number };

export type EventStoreDouble = {
  readonly connectionString: string;
  readonly port: number;
  /** Of the process that serves now; another one after a restart. */
  pid(): number | undefined;
  /** From now on every request is accepted and none answered. */
  freeze(how: Freeze): Promise<void>;
  thaw(): Promise<void>;
  /** Requests that came since the freeze, events in the log (system events included), and events sent to subscribers. */
  count(): Promise<{ readonly held: number; readonly events: number; readonly sent: number }>;
  /** Ends the process at once, as `kill -9` does. */
  kill(): Promise<void>;
  /** Starts it again on the same port, with what it had acknowledged where it has a folder. */
  restart(): Promise<void>;
  stop(): Promise<void>;
};

type Command = { readonly type: 'freeze'; readonly how: Freeze } | { readonly type: 'thaw' } | { readonly type: 'count' };

const SERVER = fileURLToPath(new URL('./double-server.js', import.meta.url));

export async function startEventStoreDouble(options: Partial<DoubleSettings> = {}): Promise<EventStoreDouble> {
  const { mode = 'default', folder = null, tls = null, user = null } = options;
  let { child, port } = await forkServer({ mode, folder, tls, user, port: options.port ?? 0 });
  let commands = 0;

  function tell(command: Command): Promise<Extract<DoubleReport, { type: 'done' }>> {
    commands += 1;
    const id = commands;
    return new Promise((resolve, reject) => {
      const hear = (report: DoubleReport) => {
        if (report.type !== 'done' || report.id !== id) return;
        child.off('message', hear);
        resolve(report);
      };
      child.on('message', hear);
      child.send({ ...command, id }, (error) => {
        if (error !== null) reject(error);
      });
    });
  }

  async function kill(): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  return {
    connectionString: tls === null ? `esdb://127.0.0.1:${port}?tls=false` : `esdb://localhost:${port}`,
    port,
    pid: () => child.pid,
    freeze: async (how) => void (await tell({ type: 'freeze', how })),
    thaw: async () => void (await tell({ type: 'thaw' })),
    count: async () => {
      const { held, events, sent } = await tell({ type: 'count' });
      return { held, events, sent };
    },
    kill,
    async restart() {
      await kill();
      ({ child } = await forkServer({ mode, folder, tls, user, port }));
    },
    stop: kill,
  };
}

async function forkServer(settings: DoubleSettings): Promise<{ child: ChildProcess; port: number }> {
  const env = { ...process.env, FAREBOX_EVENT_STORE_DOUBLE: JSON.stringify(settings) };
  const child = fork(SERVER, [], { env, execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const port = await new Promise<number>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the EventStoreDB double ended with ${code} before it listened`)));
    child.on('message', (report: DoubleReport) => {
      if (report.type === 'listening') resolve(report.port);
      if (report.type === 'failed') reject(new Error(`the EventStoreDB double cannot listen: ${report.message}`));
    });
  });
  return { child, port };
}
