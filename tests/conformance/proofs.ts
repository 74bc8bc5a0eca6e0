/** Which test proves which row, read from the suites' text, and the table of it for docs/conformance.md. */
import { readdirSync, readFileSync } from 'node:fs';
import { packageFile } from '../../platform/package-root.js';
import { ROWS, type Row } from './rows.js';

export type Proof = { readonly file: string; readonly title: string };

const FOLDER = 'tests/conformance';
const ROW_CALL = /\brow\(\s*'([A-Z]\d+(?: [A-Z]\d+)*)',\s*(['"`])((?:(?!\2).)+)\2/g;

/** Proofs by row id. */
export function readProofs(): ReadonlyMap<string, readonly Proof[]> {
  const proofs = new Map<string, Proof[]>();
  const note = (id: string, proof: Proof) => proofs.set(id, [...(proofs.get(id) ?? []), proof]);
  for (const name of readdirSync(packageFile(FOLDER)).sort()) {
    if (!name.endsWith('.ts')) continue;
    const file = `${FOLDER}/${name}`;
    for (const [, ids = '', , title = ''] of readFileSync(packageFile(file), 'utf8').matchAll(ROW_CALL)) {
      for (const id of ids.split(' ')) note(id, { file, title });
    }
  }
  for (const { id, also = [] } of ROWS) for (const proof of also) note(id, proof);
  return proofs;
}

/** Whether the file has a test of that title. */
export function isThere({ file, title }: Proof): boolean {
  return readFileSync(packageFile(file), 'utf8').includes(title);
}

const HEADINGS: Readonly<Record<Row['preset'], string>> = {
  hunt: 'Hunt (`hunt`)',
  'hoonify-ai': 'Hoonify AI (`hoonify-ai`)',
  hiveops: 'HiveOps (`hiveops`)',
  'hoonify-dev': 'Hoonify (`hoonify-dev`)',
  huru: 'Huru (`huru`)',
};

/** The whole of docs/conformance.md. */
export function conformanceDocument(proofs: ReadonlyMap<string, readonly Proof[]>): string {
  const sections = (Object.keys(HEADINGS) as Row['preset'][]).map((preset) => {
    const lines = ROWS.filter((row) => row.preset === preset).map(({ id, promise }) => {
      const shown = (proofs.get(id) ?? []).map(({ file, title }) => `${title} (\`${file}\`)`);
      return `| ${id} | ${promise} | ${shown.length > 0 ? shown.join('<br>') : '**no test**'} |`;
    });
    return `## ${HEADINGS[preset]}\n\n| Row | Promise | Proved by |\n|---|---|---|\n${lines.join('\n')}\n`;
  });
  return `# Conformance\n\nEvery promise of the five public API documents that Farebox implements, and the tests that prove it; written by \`npm run docs:conformance\` and\nheld to the suites by \`tests/conformance/coverage.test.ts\`. A row whose test fails, or that has none, fails the build.\n\n${sections.join('\n')}`;
}
