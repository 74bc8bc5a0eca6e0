/** Pastes a line into a shell, as a reader of a document does. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** What a shell answers when it does not find a command (POSIX, 2.8.2). */
const COMMAND_NOT_FOUND = 127;

/** What the line printed. Where there is no shell or no curl, the request that the curl line stands for is sent all the same. */
export async function pasted(curlLine: string): Promise<string> {
  try {
    return (await promisify(execFile)('/bin/sh', ['-c', curlLine])).stdout;
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code !== 'ENOENT' && code !== COMMAND_NOT_FOUND) throw error;
    return requested(curlLine);
  }
}

async function requested(curlLine: string): Promise<string> {
  const url = /^curl "?([^\s"]+)/.exec(curlLine)?.[1] ?? '';
  const headers = [...curlLine.matchAll(/-H "([^:]+): ([^"]+)"/g)].map(([, name = '', value = '']): [string, string] => [name, value]);
  const body = /-d '([^']+)'/.exec(curlLine)?.[1];
  return (await fetch(url, { headers, ...(body === undefined ? {} : { method: 'POST', body }) })).text();
}
