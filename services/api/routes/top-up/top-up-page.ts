/** The top-up page as HTML. Static apart from ids and the brand, all of them escaped; works without scripts. */

/** Whose account is empty, as the admin's grant names it. */
export type TopUpPayer = { readonly field: 'project_id' | 'consumer_id'; readonly id: string };

export type TopUpPage = {
  readonly brand: string;
  readonly publicBaseUrl: string;
  readonly payer: TopUpPayer;
};

/** No scripts, no frames, no forms, nothing from elsewhere; the one style sheet is allowed by the nonce of this answer. */
export function topUpPolicy(nonce: string): string {
  return `default-src 'none'; style-src 'nonce-${nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;
}

export function topUpPage(page: TopUpPage, nonce: string): string {
  const { field, id } = page.payer;
  const command = [
    `curl ${page.publicBaseUrl.replace(/\/+$/, '')}/v1/admin/grants \\`,
    `  -H "Authorization: Bearer $FAREBOX_ADMIN_KEY" \\`,
    `  -H "Content-Type: application/json" \\`,
    `  -d '${JSON.stringify({ [field]: id, amount: '10', kind: 'top_up', reason: 'money received' })}'`,
  ].join('\n');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Top up · ${escapeHtml(page.brand)}</title>
<style nonce="${escapeHtml(nonce)}">
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; color: #1d2330; background: #fff }
  code, pre { font-family: ui-monospace, monospace; background: #f2f4f8; border-radius: 4px }
  code { padding: .1em .3em } pre { padding: 1rem; overflow-x: auto }
</style>
</head>
<body>
<main>
<h1>Out of credit</h1>
<p>${escapeHtml(page.brand)} takes no payments on this page yet. The operator of this service adds credit by hand; running requests are not affected, and nothing was charged for the one that was refused.</p>
<h2>If you are the customer</h2>
<p>Send this reference to the operator: <code>${escapeHtml(id)}</code></p>
<h2>If you are the operator</h2>
<p>After receiving the money, book it with the admin key:</p>
<pre>${escapeHtml(command)}</pre>
</main>
</body>
</html>
`;
}

export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
