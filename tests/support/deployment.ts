/**
 * A running Farebox as the journeys see it, however it is wired. A wiring (embedded, distributed) provides `createDeployment`; the same journeys
 * then run under it.
 */
import type { Books } from './books.js';

/** What a deployment tells a newcomer when it starts. */
export type Welcome = {
  /** The whole text, as printed. */
  readonly text: string;
  /** Without `/v1`. */
  readonly baseUrl: string;
  readonly demoKey: string;
  /** Printed only when it was made by the deployment itself. */
  readonly adminKey: string | null;
  /** The line to paste, over as many lines as it is printed. */
  readonly curlLine: string;
};

export type CommandResult = { readonly exitCode: number | null; readonly output: string };

export type StartOptions = {
  /** Named in `events/failpoints.ts`; none by default. */
  readonly failpoint?: string;
  /** More of the environment, for this start alone. */
  readonly environment?: Readonly<Record<string, string>>;
};

export interface Deployment {
  readonly adminKey: string;
  /** Of the latest start. Throws before the first. */
  readonly welcome: Welcome;
  readonly baseUrl: string;
  /** Everything the service has logged so far, over all its starts. */
  readonly log: string;
  /** Resolves when it has said that it is ready; rejects with its output when it ends before. State is kept over restarts. */
  start(options?: StartOptions): Promise<void>;
  /** Asks it to drain and end (SIGTERM), and waits for that. */
  stop(): Promise<{ readonly exitCode: number | null }>;
  /** Ends it at once, as kill -9 does. */
  kill(): Promise<void>;
  /** Resolves when it has ended, for whatever reason. */
  readonly exited: Promise<void>;
  isRunning(): boolean;
  /** `farebox verify` and `farebox rebuild`; the deployment must be stopped. */
  command(name: 'verify' | 'rebuild'): Promise<CommandResult>;
  /** The database behind it, while it runs. The caller closes it. */
  openBooks(): Promise<Books>;
  /** Ends it and removes what it kept. Safe at any time. */
  dispose(): Promise<void>;
}

export type DeploymentOptions = {
  /** A preset's name or the path of a YAML file; `farebox` by default. */
  readonly preset?: string;
};

export type CreateDeployment = (options?: DeploymentOptions) => Promise<Deployment>;
