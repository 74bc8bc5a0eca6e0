/** Throw-away certificates for tests of TLS: an authority, a server on `localhost`, and a user. Needs the `openssl` program. */
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export type CertificateFiles = { readonly certFile: string; readonly keyFile: string };
export type TestCertificates = { readonly caFile: string; readonly server: CertificateFiles; readonly user: CertificateFiles };

/** Writes PEM files into `folder`, valid for a day. */
export async function makeTestCertificates(folder: string): Promise<TestCertificates> {
  const openssl = (...args: string[]) => run('openssl', args, { cwd: folder });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl('req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '1', '-subj', '/CN=farebox test authority');
  const issue = async (name: string, extensions: string): Promise<CertificateFiles> => {
    await writeFile(join(folder, `${name}.ext`), extensions);
    await openssl('req', ...newKey, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
    const signer = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '1', '-extfile', `${name}.ext`];
    await openssl('x509', '-req', '-in', `${name}.csr`, '-out', `${name}.crt`, ...signer);
    return { certFile: join(folder, `${name}.crt`), keyFile: join(folder, `${name}.key`) };
  };
  const server = await issue('server', 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
  const user = await issue('user', 'extendedKeyUsage=clientAuth\n');
  return { caFile: join(folder, 'ca.crt'), server, user };
}
