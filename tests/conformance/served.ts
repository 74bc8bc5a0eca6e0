/** A server with one document's preset, a paying project on it, and the document's curl lines sent as they are printed. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll } from '@jest/globals';
import OpenAI from 'openai';
import { createEmbeddedDeployment, type EmbeddedDeployment } from '../support/embedded-deployment.js';
import { createFareboxClient, type FareboxClient } from '../support/farebox-client.js';
import type { PresetName } from './rows.js';

export type Printed = {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of any shape; a wrong guess fails the test
  readonly body: any;
};

export type Served = {
  readonly deployment: EmbeddedDeployment;
  readonly client: FareboxClient;
  /** A live key of a project with credit. */
  readonly key: string;
  /** OpenAI's client for Node, as the documents configure it. */
  openai(key?: string): OpenAI;
  /** Sends a curl line as it is printed, with `host` and `key` changed to this server's. */
  curl(line: string): Promise<Printed>;
};

export type ServedOptions = {
  readonly preset: PresetName;
  /** The model that the document's first request names. */
  readonly model: string;
  /** As printed, with the scheme; and the base path that its SDK examples use. */
  readonly host: string;
  readonly sdkPath?: string;
  /** As printed. */
  readonly keys: readonly string[];
  /** Credit on top of the starter credit, in the preset's unit. */
  readonly credit?: string;
  readonly environment?: Readonly<Record<string, string>>;
};

const OUTPUT_BYTES_MAX = 32 * 1_024 * 1_024;

/** Started before the first test of the enclosing `describe`, and ended after its last. */
export function serve(options: ServedOptions): Served {
  let deployment: EmbeddedDeployment | null = null;
  let client: FareboxClient | null = null;
  let key = '';
  const started = <Part>(part: Part | null): Part => {
    if (part === null) throw new Error('the server was not started');
    return part;
  };
  beforeAll(async () => {
    deployment = await createEmbeddedDeployment({
      preset: options.preset,
      environment: options.environment ?? {},
    });
    await deployment.start();
    client = createFareboxClient({ baseUrl: deployment.baseUrl, adminKey: deployment.adminKey, model: options.model });
    const project = await client.signUp('Conformance', 'live');
    key = project.key;
    if (options.credit !== undefined) {
      const { status, text } = await client.grant({ project_id: project.projectId }, options.credit);
      if (status >= 300) throw new Error(`no credit: ${status} ${text}`);
    }
  }, 120_000);
  afterAll(async () => {
    client?.close();
    await deployment?.dispose();
  }, 120_000);
  return {
    get deployment() {
      return started(deployment);
    },
    get client() {
      return started(client);
    },
    get key() {
      return key;
    },
    openai: (apiKey = key) => new OpenAI({ baseURL: `${started(deployment).baseUrl}${options.sdkPath ?? '/v1'}`, apiKey, maxRetries: 0 }),
    async curl(line) {
      let changed = line.replaceAll(options.host, started(deployment).baseUrl);
      for (const printed of options.keys) changed = changed.replaceAll(printed, key);
      return sent(changed);
    },
  };
}

/** By a shell, with status line and headers before the body. */
async function sent(line: string): Promise<Printed> {
  const withHead = line.replace(/^curl /, 'curl -sS -i ');
  let { stdout: text } = await promisify(execFile)('/bin/sh', ['-c', withHead], { maxBuffer: OUTPUT_BYTES_MAX });
  let head = '';
  // An upload may be answered with "100 Continue" first.
  while (text.startsWith('HTTP/')) {
    const end = text.indexOf('\r\n\r\n');
    head = text.slice(0, end);
    text = text.slice(end + 4);
  }
  const headers: Record<string, string> = {};
  for (const field of head.split('\r\n').slice(1)) {
    const colon = field.indexOf(':');
    if (colon > 0) headers[field.slice(0, colon).toLowerCase()] = field.slice(colon + 1).trim();
  }
  return { status: Number(head.split(' ')[1]), headers, text, body: parsed(text) };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
