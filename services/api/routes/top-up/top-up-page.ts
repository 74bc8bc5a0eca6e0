/** The top-up page's content. Static apart from ids, packs and the brand, all of them escaped; works without scripts. */
import { formatAmount } from '../../../../events/contract/index.js';
import { type CreditPack, packPriceMinor } from '../../../../presets/preset-schema.js';
import { escapeHtml } from '../../payments/html-page.js';
import { moneyText } from '../checkout/payment-object.js';
import { TOP_UP_PATH } from './top-up-url.js';

/** Whose account is empty, as the admin's grant names it. */
export type TopUpPayer = { readonly field: 'project_id' | 'consumer_id'; readonly id: string };

export type PacksPage = {
  readonly brand: string;
  readonly unit: string;
  readonly packs: readonly CreditPack[];
  readonly payer: TopUpPayer;
  readonly isTest: boolean;
};

export function packsContent({ brand, unit, packs, payer, isTest }: PacksPage): string {
  const query = `${payer.field === 'consumer_id' ? 'consumer' : 'project'}=${encodeURIComponent(payer.id)}`;
  const rows = packs.map((pack) => {
    const credit = unit === 'credit' ? `${formatAmount(pack.credits)} credits` : `${formatAmount(pack.credits)} ${unit} of credit`;
    const price = `${moneyText(packPriceMinor(pack))} ${pack.price.currency}`;
    return `<form class="pack" method="post" action="${TOP_UP_PATH}?${escapeHtml(query)}">
<span><strong>${escapeHtml(pack.name)}</strong><br>${escapeHtml(credit)}</span>
<button type="submit" name="pack_id" value="${escapeHtml(pack.id)}">Buy for ${escapeHtml(price)}</button>
</form>`;
  });
  const label = isTest ? '<p class="test"><strong>Test mode.</strong> No real money moves.</p>\n' : '';
  return `<h1>Top up</h1>
<p>Credit for ${escapeHtml(brand)}. Running requests are not affected, and nothing was charged for one that was refused for lack of credit.</p>
${label}${rows.join('\n')}
<p>For: <code>${escapeHtml(payer.id)}</code></p>`;
}

export type NoPaymentsPage = { readonly brand: string; readonly publicBaseUrl: string; readonly payer: TopUpPayer };

export function noPaymentsContent(page: NoPaymentsPage): string {
  const { field, id } = page.payer;
  const command = [
    `curl ${page.publicBaseUrl.replace(/\/+$/, '')}/v1/admin/grants \\`,
    `  -H "Authorization: Bearer $FAREBOX_ADMIN_KEY" \\`,
    `  -H "Content-Type: application/json" \\`,
    `  -d '${JSON.stringify({ [field]: id, amount: '10', kind: 'top_up', reason: 'money received' })}'`,
  ].join('\n');
  return `<h1>Out of credit</h1>
<p>${escapeHtml(page.brand)} takes no payments on this page yet. The operator of this service adds credit by hand; running requests are not affected, and nothing was charged for the one that was refused.</p>
<h2>If you are the customer</h2>
<p>Send this reference to the operator: <code>${escapeHtml(id)}</code></p>
<h2>If you are the operator</h2>
<p>After receiving the money, book it with the admin key:</p>
<pre>${escapeHtml(command)}</pre>`;
}
