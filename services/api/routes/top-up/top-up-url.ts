/** Where a payer without credit is sent. Carries ids only: addresses end up in logs and histories, so no e-mail address goes into one. */

export const TOP_UP_PATH = '/top-up';

export function topUpUrl(publicBaseUrl: string, payer: { readonly projectId: string } | { readonly consumerId: string }): string {
  const base = publicBaseUrl.replace(/\/+$/, '');
  const [name, id] = 'consumerId' in payer ? ['consumer', payer.consumerId] : ['project', payer.projectId];
  return `${base}${TOP_UP_PATH}?${name}=${encodeURIComponent(id)}`;
}
