/** Reads `docker/Dockerfile` as far as its checks need: stages, what each copies, environment, commands. */
import { readFileSync } from 'node:fs';
import { packageFile } from '../../platform/package-root.js';

export type Copy = {
  /** The stage it comes from; `null` for the repository. */
  readonly fromStage: string | null;
  /** Paths as written: files, folders, or a pattern with one `*` in its last part. */
  readonly sources: readonly string[];
  readonly target: string;
};

export type Instruction = { readonly name: string; readonly text: string };
export type Stage = { readonly name: string | null; readonly base: string; readonly instructions: readonly Instruction[] };

export function readStages(): readonly Stage[] {
  const text = readFileSync(packageFile('docker/Dockerfile'), 'utf8');
  const stages: { name: string | null; base: string; instructions: Instruction[] }[] = [];
  for (const line of joinedLines(text)) {
    const [, name = '', rest = ''] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? [];
    if (name === '') throw new Error(`not an instruction: ${line}`);
    if (name === 'FROM') {
      const [, base = '', stage] = /^(?:--platform=\S+\s+)?(\S+)(?:\s+AS\s+(\S+))?$/.exec(rest) ?? [];
      stages.push({ name: stage ?? null, base, instructions: [] });
    } else stages.at(-1)?.instructions.push({ name, text: rest });
  }
  return stages;
}

export function finalStage(): Stage {
  const last = readStages().at(-1);
  if (last === undefined) throw new Error('the Dockerfile has no stage');
  return last;
}

export function copiesOf(stage: Stage): readonly Copy[] {
  return stage.instructions
    .filter(({ name }) => name === 'COPY')
    .map(({ text }) => {
      const words = text.split(/\s+/);
      const from = words.find((word) => word.startsWith('--from='))?.slice('--from='.length) ?? null;
      const paths = words.filter((word) => !word.startsWith('--'));
      return { fromStage: from, sources: paths.slice(0, -1), target: paths.at(-1) ?? '' };
    });
}

/** `ENV name=value`, by name. */
export function environmentOf(stage: Stage): ReadonlyMap<string, string> {
  const pairs = stage.instructions.filter(({ name }) => name === 'ENV').flatMap(({ text }) => text.split(/\s+/));
  return new Map(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
}

/** Whether a path of the repository, a folder with a trailing slash, is among what `source` copies. */
export function isCopiedBy(source: string, path: string): boolean {
  const wanted = path.replace(/^\.\//, '');
  if (!source.includes('*')) return wanted.replace(/\/$/, '') === source || wanted.startsWith(`${source}/`);
  const pattern = source.replaceAll('.', '\\.').replaceAll('*', '[^/]*');
  return new RegExp(`^${pattern}$`).test(wanted);
}

/** The patterns of `.dockerignore` that let something through, without their `!`. */
export function sentToBuilder(): readonly string[] {
  const lines = readFileSync(packageFile('.dockerignore'), 'utf8').split('\n');
  return lines.filter((line) => line.startsWith('!')).map((line) => line.slice(1));
}

function joinedLines(text: string): readonly string[] {
  const code = text.split('\n').filter((line) => !/^\s*(#.*)?$/.test(line));
  return code
    .join('\n')
    .replace(/\s*\\\n\s*/g, ' ')
    .split('\n');
}
