/** The few pages that Farebox shows to payers: no scripts, nothing from elsewhere, one style sheet allowed by a nonce, forms to itself only. */
import { randomBytes } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { refuse } from '../refusals.js';

const NONCE_BYTES = 16;
/** A pack, a payer and a token are some hundred bytes. */
const FORM_BYTES_MAX = 4_096;

export type Page = {
  readonly title: string;
  /** HTML, escaped by whoever wrote it. */
  readonly content: string;
  /** Where forms may lead besides here: the provider's page, to which a form's answer redirects. */
  readonly formAction?: string;
  /** Loads itself again after so many seconds. */
  readonly refreshSeconds?: number;
};

export function sendPage(response: ServerResponse, status: number, page: Page): { readonly sent: true } {
  const nonce = randomBytes(NONCE_BYTES).toString('base64');
  const formAction = page.formAction ?? "'none'";
  response.statusCode = status;
  response.setHeader('Content-Type', 'text/html; charset=utf-8');
  response.setHeader(
    'Content-Security-Policy',
    `default-src 'none'; style-src 'nonce-${nonce}'; base-uri 'none'; form-action ${formAction}; frame-ancestors 'none'`,
  );
  response.setHeader('Cache-Control', 'no-store');
  response.setHeader('Referrer-Policy', 'no-referrer');
  response.setHeader('X-Content-Type-Options', 'nosniff');
  response.end(htmlOf(page, nonce));
  return { sent: true };
}

/** 303, so that a form's answer is fetched with GET. `url` was checked when it was taken in. */
export function sendRedirect(response: ServerResponse, url: string): { readonly sent: true } {
  response.statusCode = 303;
  response.setHeader('Location', url);
  response.setHeader('Cache-Control', 'no-store');
  response.setHeader('Referrer-Policy', 'no-referrer');
  response.end();
  return { sent: true };
}

function htmlOf({ title, content, refreshSeconds }: Page, nonce: string): string {
  const refresh = refreshSeconds === undefined ? '' : `<meta http-equiv="refresh" content="${refreshSeconds}">\n`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
${refresh}<title>${escapeHtml(title)}</title>
<style nonce="${escapeHtml(nonce)}">
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; color: #1d2330; background: #fff }
  code, pre { font-family: ui-monospace, monospace; background: #f2f4f8; border-radius: 4px }
  code { padding: .1em .3em } pre { padding: 1rem; overflow-x: auto }
  button { font: inherit; padding: .6rem 1.2rem; border: 0; border-radius: 6px; color: #fff; background: #2552c9; cursor: pointer }
  .test { border-left: 4px solid #b45309; padding: .5rem 1rem; background: #fff7ed }
  .pack { display: flex; justify-content: space-between; align-items: center; padding: .6rem 0; border-bottom: 1px solid #e5e8ef }
</style>
</head>
<body>
<main>
${content}
</main>
</body>
</html>
`;
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** A form that a browser posted. Throws a `RefusalError` for anything else, and for a field that occurs twice. */
export async function readForm(request: IncomingMessage): Promise<ReadonlyMap<string, string>> {
  const type = (request.headers['content-type'] ?? '').split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/x-www-form-urlencoded') throw refuse('unsupported_media_type', { message: 'Send a form.' });
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > FORM_BYTES_MAX) throw refuse('body_too_large', { message: `A form must not exceed ${FORM_BYTES_MAX} bytes.` });
    chunks.push(chunk);
  }
  const fields = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(Buffer.concat(chunks).toString('utf8'))) {
    if (fields.has(name)) throw refuse('invalid_parameter', { message: 'A field of the form occurs twice.' });
    fields.set(name, value);
  }
  return fields;
}
