/** The data directory's own files: the secrets that a first start makes and prints. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';

/** Readable by its owner alone. */
const PRIVATE_FILE_MODE = 0o600;

export type DataDirectory = {
  /** Absolute. */
  readonly path: string;
  /** The secret kept under `name`, made by `make` when there is none yet. */
  secret(name: string, make: () => string): string;
  /** Keeps a secret that was made elsewhere. */
  keepSecret(name: string, secret: string): void;
  readSecret(name: string): string | null;
};

/** Creates the directory where needed. */
export function openDataDirectory(path: string): DataDirectory {
  const directory = resolve(path);
  mkdirSync(directory, { recursive: true });
  const fileOf = (name: string) => `${directory}/${name}`;
  const readSecret = (name: string) => (existsSync(fileOf(name)) ? readFileSync(fileOf(name), 'utf8').trim() : null);
  const keepSecret = (name: string, secret: string) => writeFileSync(fileOf(name), `${secret}\n`, { mode: PRIVATE_FILE_MODE });
  return {
    path: directory,
    readSecret,
    keepSecret,
    secret(name, make) {
      const known = readSecret(name);
      if (known !== null && known !== '') return known;
      const made = make();
      keepSecret(name, made);
      return made;
    },
  };
}

/** 256 random bits behind a prefix that says what the secret is for. */
export function makeAdminKey(): string {
  return `fbx_admin_${randomBytes(32).toString('base64url')}`;
}
