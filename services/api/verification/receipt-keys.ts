/** Ed25519 keys of receipts: read from settings, named by their own digest, used to sign and to check. */
import { createHash, createPrivateKey, createPublicKey, type KeyObject, randomBytes, sign, verify } from 'node:crypto';

/** DER in front of the raw key: RFC 8410, sections 4 and 7. */
const PRIVATE_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const PUBLIC_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');
const RAW_BYTES = 32;
const ID_CHARACTERS = 16;

export type PublicReceiptKey = {
  /** `rk_` and the beginning of the SHA-256 of the raw key, so that a key has one name everywhere. */
  readonly id: string;
  /** The raw 32 bytes in base64. */
  readonly publicKey: string;
};

export type ReceiptSigner = {
  readonly publicKey: PublicReceiptKey;
  /** Base64. Deterministic, as Ed25519 is. */
  sign(text: string): string;
};

/** A text that is no Ed25519 key. */
export class ReceiptKeyError extends Error {
  override readonly name = 'ReceiptKeyError';
}

/** A new key's seed in base64, as `receiptSigner` reads it. */
export function makeReceiptSeed(): string {
  return randomBytes(RAW_BYTES).toString('base64');
}

/** `text`: a PEM private key (PKCS #8), or its 32-byte seed in base64. Throws `ReceiptKeyError`. */
export function receiptSigner(text: string): ReceiptSigner {
  const key = privateKeyOf(text);
  return { publicKey: publicKeyOf(createPublicKey(key)), sign: (signed) => sign(null, Buffer.from(signed), key).toString('base64') };
}

/** `text`: a PEM public key, or the raw key in base64. Throws `ReceiptKeyError`. */
export function publicReceiptKey(text: string): PublicReceiptKey {
  return publicKeyOf(publicKeyObject(text));
}

export function isSignedBy({ publicKey }: PublicReceiptKey, text: string, signature: string): boolean {
  return verify(null, Buffer.from(text), publicKeyObject(publicKey), Buffer.from(signature, 'base64'));
}

function privateKeyOf(text: string): KeyObject {
  const key = keyOf(
    'private',
    text,
    (der) => createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }),
    createPrivateKey,
    PRIVATE_PREFIX,
  );
  return key;
}

function publicKeyObject(text: string): KeyObject {
  return keyOf('public', text, (der) => createPublicKey({ key: der, format: 'der', type: 'spki' }), createPublicKey, PUBLIC_PREFIX);
}

function keyOf(
  kind: 'private' | 'public',
  text: string,
  fromDer: (der: Buffer) => KeyObject,
  fromPem: (pem: string) => KeyObject,
  prefix: Buffer,
): KeyObject {
  const trimmed = text.trim();
  const what = kind === 'private' ? 'a PEM private key or a 32-byte seed in base64' : 'a PEM public key or 32 bytes in base64';
  try {
    // Environment files often keep a PEM on one line.
    if (trimmed.startsWith('-----BEGIN')) return onlyEd25519(fromPem(trimmed.replaceAll('\\n', '\n')), what);
    const raw = Buffer.from(trimmed, 'base64');
    const isBase64 = raw.length === RAW_BYTES && raw.toString('base64').replace(/=+$/, '') === trimmed.replace(/=+$/, '');
    if (!isBase64) throw new ReceiptKeyError(`must be ${what}, of Ed25519`);
    return fromDer(Buffer.concat([prefix, raw]));
  } catch (error) {
    if (error instanceof ReceiptKeyError) throw error;
    throw new ReceiptKeyError(`must be ${what}, of Ed25519`, { cause: error });
  }
}

function onlyEd25519(key: KeyObject, what: string): KeyObject {
  if (key.asymmetricKeyType !== 'ed25519') throw new ReceiptKeyError(`must be ${what}, of Ed25519, not ${key.asymmetricKeyType}`);
  return key;
}

function publicKeyOf(key: KeyObject): PublicReceiptKey {
  const raw = key.export({ format: 'der', type: 'spki' }).subarray(PUBLIC_PREFIX.length);
  return { id: `rk_${createHash('sha256').update(raw).digest('hex').slice(0, ID_CHARACTERS)}`, publicKey: raw.toString('base64') };
}
