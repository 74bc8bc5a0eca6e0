/**
 * A real browser, driven over the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/) through a pair of pipes: policies,
 * cookies, redirects and clicks are the browser's own. `FAREBOX_CHROMIUM` names the program; without it the usual places are looked at.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { waitFor } from '../../platform/testing/wait-for.js';
import { makeTemporaryDirectory } from './temporary-directory.js';

const PROGRAMS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome', '/usr/bin/google-chrome-stable'];
const FLAGS = ['--headless=new', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--remote-debugging-pipe'];
/** A command that takes longer has hung; a cold start on busy cores takes a few seconds. */
const COMMAND_TIMEOUT_MS = 30_000;
/** A page on busy cores. */
const PAGE_TIMEOUT_MS = 30_000;

type Json = Readonly<Record<string, unknown>>;
type Message = {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Json;
  readonly result?: Json;
  readonly error?: { readonly message: string };
};

/** Path of a Chromium; `null`, with a line on standard error, where there is none. FAREBOX_BROWSER_REQUIRED=1: there has to be one. */
export function findBrowser(): string | null {
  const found = [process.env['FAREBOX_CHROMIUM'], ...PROGRAMS].find((path) => path !== undefined && existsSync(path));
  if (found !== undefined) return found;
  if (process.env['FAREBOX_BROWSER_REQUIRED'] === '1')
    throw new Error('no Chromium for the tests of the pages; FAREBOX_CHROMIUM may name one');
  process.stderr.write('The tests of the pages in a real browser are skipped: there is no Chromium. FAREBOX_CHROMIUM may name one.\n');
  return null;
}

/** One tab. Rejects when something takes longer than a page may. */
export type Page = {
  open(url: string): Promise<void>;
  /** The value of an expression in the page. */
  read<Value>(expression: string): Promise<Value>;
  /** Waits until the expression is true, over navigations too. */
  until(expression: string): Promise<void>;
  /** Presses the mouse where the element is, `times` in a row without waiting for what the first does. */
  click(selector: string, times?: number): Promise<void>;
  /** Puts the text into a field, as typing or pasting does. */
  enter(selector: string, text: string): Promise<void>;
  /** What the browser complained about: exceptions, and what a policy forbade. */
  readonly complaints: readonly string[];
};

export type Browser = { newPage(): Promise<Page>; close(): Promise<void> };

export async function startBrowser(program: string): Promise<Browser> {
  const profile = await makeTemporaryDirectory();
  // The sandbox refuses to run as root, which tests in containers are; the pages are our own.
  const flags = process.getuid?.() === 0 ? [...FLAGS, '--no-sandbox'] : FLAGS;
  const child = spawn(program, [...flags, `--user-data-dir=${profile.path}`], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const connection = new Connection(child);
  return {
    async newPage() {
      const { targetId } = await connection.send('Target.createTarget', { url: 'about:blank' });
      const { sessionId } = await connection.send('Target.attachToTarget', { targetId, flatten: true });
      return newPage(connection, String(sessionId));
    },
    async close() {
      await connection.send('Browser.close').catch(() => child.kill('SIGKILL'));
      await exited;
      await profile.remove();
    },
  };
}

/** Messages are JSON texts that end in a NUL, on the descriptors 3 (to the browser) and 4 (from it). */
class Connection {
  readonly #input: Writable;
  readonly #answers = new Map<number, (message: Message) => void>();
  readonly #listeners = new Map<string, (message: Message) => void>();
  #lastId = 0;
  #unread = '';

  constructor(child: ChildProcess) {
    this.#input = child.stdio[3] as Writable;
    const output = child.stdio[4] as Readable;
    output.setEncoding('utf8').on('data', (text: string) => {
      const messages = (this.#unread + text).split('\0');
      this.#unread = messages.pop() ?? '';
      for (const message of messages) this.#take(JSON.parse(message) as Message & { readonly sessionId?: string });
    });
    // The browser may close its end first.
    this.#input.on('error', () => {});
  }

  listen(sessionId: string, listener: (message: Message) => void): void {
    this.#listeners.set(sessionId, listener);
  }

  send(method: string, params: Json = {}, sessionId?: string): Promise<Json> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${method}: no answer within ${COMMAND_TIMEOUT_MS} ms`)), COMMAND_TIMEOUT_MS);
      this.#answers.set(id, ({ result, error }) => {
        clearTimeout(timer);
        if (error === undefined) resolve(result ?? {});
        else reject(new Error(`${method}: ${error.message}`));
      });
      this.#input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  #take(message: Message & { readonly sessionId?: string }): void {
    if (message.id === undefined) {
      this.#listeners.get(message.sessionId ?? '')?.(message);
      return;
    }
    this.#answers.get(message.id)?.(message);
    this.#answers.delete(message.id);
  }
}

async function newPage(connection: Connection, sessionId: string): Promise<Page> {
  const complaints: string[] = [];
  const send = (method: string, params: Json = {}) => connection.send(method, params, sessionId);
  connection.listen(sessionId, ({ method, params }) => {
    if (method === 'Runtime.exceptionThrown' || (method === 'Log.entryAdded' && isError(params))) complaints.push(JSON.stringify(params));
  });
  for (const domain of ['Page', 'Runtime', 'Log']) await send(`${domain}.enable`);
  // Between two pages there is none to ask.
  const until = async (expression: string) => {
    await waitFor(() => read<boolean>(`Boolean(${expression})`).catch(() => false), {
      timeoutMs: PAGE_TIMEOUT_MS,
      describe: () => `${expression}; ${complaints.join('\n')}`,
    });
  };

  async function read<Value>(expression: string): Promise<Value> {
    const { result, exceptionDetails } = await send('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails !== undefined) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`);
    return (result as { value: Value }).value;
  }

  async function centreOf(selector: string): Promise<{ readonly x: number; readonly y: number }> {
    await until(`document.querySelector(${JSON.stringify(selector)})`);
    return read(`(() => {
      const element = document.querySelector(${JSON.stringify(selector)});
      element.scrollIntoView({ block: 'center', behavior: 'instant' });
      const { x, y, width, height } = element.getBoundingClientRect();
      return { x: x + width / 2, y: y + height / 2 };
    })()`);
  }

  return {
    complaints,
    read,
    until,
    async open(url) {
      await send('Page.navigate', { url });
      await until(`location.href !== 'about:blank' && document.readyState === 'complete'`);
    },
    async click(selector, times = 1) {
      const at = await centreOf(selector);
      const presses = Array.from({ length: times }, (_, index) =>
        ['mousePressed', 'mouseReleased'].map((type) =>
          send('Input.dispatchMouseEvent', { type, ...at, button: 'left', buttons: 1, clickCount: index + 1 }),
        ),
      );
      await Promise.all(presses.flat());
    },
    async enter(selector, text) {
      await centreOf(selector);
      await read(`document.querySelector(${JSON.stringify(selector)}).focus()`);
      await send('Input.insertText', { text });
    },
  };
}

function isError(params: Json | undefined): boolean {
  return (params?.['entry'] as { readonly level?: string } | undefined)?.level === 'error';
}
