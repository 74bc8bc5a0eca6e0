/** The pages and scripts of the playground. Everything comes from this server; nothing is inlined, so the policy needs no exceptions. */
import { escapeHtml } from '../payments/html-page.js';

/** Swagger UI sets styles through the DOM, which needs no `unsafe-inline`, and shows icons from `data:` URIs in its style sheet. */
export const PLAYGROUND_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

export const PLAYGROUND_SCRIPT_NAME = 'playground.js';

export function playgroundPage(brand: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(brand)} API</title>
<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/assets/favicon-32x32.png">
</head>
<body>
<div id="playground"></div>
<noscript>The playground needs JavaScript. The document itself is at <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/${PLAYGROUND_SCRIPT_NAME}"></script>
</body>
</html>
`;
}

/**
 * `validatorUrl: null`: the document is not sent to anybody's validator. The key stays in the visitor's own browser. The document names the
 * service's public address; the page may be open under another one of the same service, and its policy lets it ask only that.
 */
export const PLAYGROUND_SCRIPT = `window.addEventListener('load', async () => {
  const answer = await fetch('/openapi.json');
  const spec = await answer.json();
  window.ui = SwaggerUIBundle({
    spec: { ...spec, servers: [{ url: window.location.origin }] },
    dom_id: '#playground',
    presets: [SwaggerUIBundle.presets.apis],
    layout: 'BaseLayout',
    deepLinking: true,
    persistAuthorization: true,
    tryItOutEnabled: true,
    displayRequestDuration: true,
    validatorUrl: null,
  });
});
`;
