/** The code that runs in a container: everything that is compiled into the image, without what only tests use. */
import { readdirSync, readFileSync } from 'node:fs';
import { packageFile } from '../../platform/package-root.js';

const FOLDERS = ['events', 'platform', 'presets', 'services'];

const isTestCode = (file: string) => /\.test\.ts$|-contract\.ts$|\/testing\//.test(file);

export function productionSources(): readonly { readonly file: string; readonly text: string }[] {
  return FOLDERS.flatMap((folder) =>
    readdirSync(packageFile(folder), { recursive: true, encoding: 'utf8' })
      .map((path) => `${folder}/${path}`)
      .filter((file) => file.endsWith('.ts') && !isTestCode(file))
      .map((file) => ({ file, text: readFileSync(packageFile(file), 'utf8') })),
  );
}
