/** A second door of a development broker, with TLS and SASL: how clients of a secured cluster are tried out on one machine. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Protects nothing: the key is made for one directory and certifies only 127.0.0.1. The tool demands one. */
const STORE_PASSWORD = 'development';
const KEYTOOL_TIMEOUT_MS = 60_000;
const SCRAM_MECHANISMS = ['SCRAM-SHA-256', 'SCRAM-SHA-512'];

export type Credentials = { readonly username: string; readonly password: string };

/** Makes a key in `directory`. Returns its self-signed certificate as PEM, for clients to trust. */
export async function makeCertificate(directory: string): Promise<string> {
  const store = ['-alias', 'broker', '-keystore', keyStoreOf(directory), '-storetype', 'PKCS12', '-storepass', STORE_PASSWORD];
  const subject = ['-keyalg', 'RSA', '-keysize', '2048', '-validity', '3650', '-dname', 'CN=127.0.0.1', '-ext', 'san=ip:127.0.0.1'];
  await run('keytool', ['-genkeypair', ...store, ...subject], { timeout: KEYTOOL_TIMEOUT_MS });
  const { stdout } = await run('keytool', ['-exportcert', '-rfc', ...store], { timeout: KEYTOOL_TIMEOUT_MS });
  return stdout;
}

/** Broker settings of the listener named SECURED. */
export function securedSettings(directory: string, { username, password }: Credentials): Readonly<Record<string, string>> {
  const plain = `org.apache.kafka.common.security.plain.PlainLoginModule required user_${username}="${password}";`;
  const scram = 'org.apache.kafka.common.security.scram.ScramLoginModule required;';
  return {
    'ssl.keystore.type': 'PKCS12',
    'ssl.keystore.location': keyStoreOf(directory),
    'ssl.keystore.password': STORE_PASSWORD,
    'sasl.enabled.mechanisms': ['PLAIN', ...SCRAM_MECHANISMS].join(','),
    'listener.name.secured.plain.sasl.jaas.config': plain,
    ...Object.fromEntries(SCRAM_MECHANISMS.map((name) => [`listener.name.secured.${name.toLowerCase()}.sasl.jaas.config`, scram])),
  };
}

/** SCRAM users live in the cluster's metadata, so they are made when it is formatted. */
export function scramArguments({ username, password }: Credentials): readonly string[] {
  return SCRAM_MECHANISMS.flatMap((name) => ['--add-scram', `${name}=[name=${username},password=${password}]`]);
}

function keyStoreOf(directory: string): string {
  return join(directory, 'broker.p12');
}
