/** Reads the corpus: plain text in this folder, written for Farebox and licensed with it. */
import { readFileSync } from 'node:fs';
import { packageFile } from '../../../../platform/package-root.js';
import type { SlotEntry } from './template.js';

const FOLDER = 'services/inference/tiny/corpus/';

/** A question and its answer; both are lists of templates to choose from. */
export type Round = { readonly questions: readonly string[]; readonly answers: readonly string[] };

/** Rounds of one conversation. A group of weight 3 is met three times as often as one of weight 1. */
export type DialogueGroup = { readonly weight: number; readonly rounds: readonly Round[] };

export type Fact = { readonly verb: 'is' | 'are'; readonly subject: string; readonly sentences: readonly string[] };

function readLines(file: string): string[] {
  return readFileSync(packageFile(FOLDER + file), 'utf8')
    .split('\n')
    .filter((line) => !line.startsWith('#'));
}

/** `name: entry, entry` lines; an entry may be `key = value`. */
export function readSlotLists(file: string): Map<string, readonly SlotEntry[]> {
  const lists = new Map<string, readonly SlotEntry[]>();
  for (const line of readLines(file)) {
    const [, name, entries] = /^([a-z_]+): (.+)$/.exec(line) ?? [];
    if (name === undefined || entries === undefined) continue;
    lists.set(
      name,
      entries.split(', ').map((entry) => {
        const [key = '', value = key] = entry.split(' = ');
        return { key, value };
      }),
    );
  }
  return lists;
}

export function readDialogueGroups(file: string): DialogueGroup[] {
  return readLines(file)
    .join('\n')
    .split(/\n\s*\n/)
    .map((block) => {
      const lines = block.split('\n');
      const after = (mark: string): string[] => lines.filter((line) => line.startsWith(mark)).map((line) => line.slice(mark.length).trim());
      const rounds = ['', '2'].map((round) => ({ questions: after(`U${round}:`), answers: after(`A${round}:`) }));
      return { weight: Number(after('=')[0] ?? 1), rounds: rounds.filter(({ questions }) => questions.length > 0) };
    })
    .filter((group) => group.rounds.length > 0);
}

export function readFacts(file: string): Fact[] {
  return readLines(file)
    .filter((line) => line !== '')
    .map((line) => {
      const [head = '', ...sentences] = line.split(' | ');
      const [, verb, subject] = /^(is|are) (.+)$/.exec(head) ?? [];
      if ((verb !== 'is' && verb !== 'are') || subject === undefined || sentences.length === 0) throw new Error(`not a fact: ${line}`);
      return { verb, subject, sentences };
    });
}
