/**
 * The runnable examples of a quickstart: its fenced blocks of sh, python and js. A block's info line says what its output must contain, as a
 * regular expression: ```sh prints="chat.completion". A block marked `setup` shows how to set the two variables, which a test sets itself.
 */
import { readFileSync } from 'node:fs';
import { packageFile } from '../../platform/package-root.js';

export type Language = 'sh' | 'python' | 'js';
export type Example = { readonly language: Language; readonly line: number; readonly code: string; readonly prints: RegExp };

const BLOCK = /^```(sh|python|js)([^\n]*)\n([\s\S]*?)^```$/gm;

/** Throws for a block that does not say what it prints: nobody would notice when it stops working. */
export function examplesOf(file: string): readonly Example[] {
  const text = readFileSync(packageFile(file), 'utf8');
  const examples: Example[] = [];
  for (const match of text.matchAll(BLOCK)) {
    const [, language, info = '', code = ''] = match;
    if (info.trim() === 'setup') continue;
    const line = text.slice(0, match.index).split('\n').length;
    const prints = /prints="([^"]+)"/.exec(info)?.[1];
    if (prints === undefined) throw new Error(`${file}:${line}: an example that does not say what it prints`);
    examples.push({ language: language as Language, line, code, prints: new RegExp(prints) });
  }
  return examples;
}
