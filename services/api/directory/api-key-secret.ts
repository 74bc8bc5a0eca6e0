/** Makes the secrets of API keys and the digests they are stored by. A secret exists in the answer that shows it and nowhere else. */
import { hash, randomBytes } from 'node:crypto';

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** 43 characters of 62 are 256 bits; the promise is at least 192. */
const SECRET_CHARACTERS = 43;

/** Bytes at or above the largest multiple of 62 are thrown away, so that every character is equally likely. */
const BYTE_LIMIT = 256 - (256 % ALPHABET.length);

/** Characters of the random part that people see to tell keys apart: 24 of 256 bits. */
const HINT_CHARACTERS = 4;

/** Longest text looked at as a key; the longest real one has 63 characters. */
const SECRET_CHARACTERS_MAX = 128;
const SECRET_PATTERN = /^[A-Za-z0-9_-]+$/;

/** A fresh secret: `prefix` and 256 random bits in base 62. */
export function makeApiKeySecret(prefix: string): string {
  let text = prefix;
  while (text.length < prefix.length + SECRET_CHARACTERS) {
    for (const byte of randomBytes(SECRET_CHARACTERS)) {
      if (byte < BYTE_LIMIT && text.length < prefix.length + SECRET_CHARACTERS) text += ALPHABET.charAt(byte % ALPHABET.length);
    }
  }
  return text;
}

/** What is shown of a key after its creation, such as `fb_live_h3Xk…`. */
export function apiKeyHint(secret: string, prefix: string): string {
  return `${secret.slice(0, prefix.length + HINT_CHARACTERS)}…`;
}

/** SHA-256 of the whole secret. Unsalted on purpose: 256 random bits cannot be guessed, and the digest is what keys are found by. */
export function secretDigest(secret: string): Buffer {
  return hash('sha256', secret, 'buffer');
}

/** Whether a text could be a key at all; what could not is refused without a look-up. */
export function isSecretShaped(text: string): boolean {
  return text.length > 0 && text.length <= SECRET_CHARACTERS_MAX && SECRET_PATTERN.test(text);
}
