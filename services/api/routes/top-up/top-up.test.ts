import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type BooksApi, PUBLIC_BASE_URL, startBooksApi } from '../../testing/books-api.js';
import { noPaymentsContent } from './top-up-page.js';

let api: BooksApi;
beforeAll(async () => {
  api = await startBooksApi({ preset: 'huru' });
});
afterAll(() => api.close());

describe('GET /top-up', () => {
  test('200: says who does the top-up and how, under a policy that allows nothing but its own style', async () => {
    const consumerId = api.ids.next('con');
    const answer = await api.call(`/top-up?consumer=${consumerId}`);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(answer.text).toContain('Huru takes no payments on this page yet');
    expect(answer.text).toContain(`<code>${consumerId}</code>`);
    expect(answer.text).toContain(`curl ${PUBLIC_BASE_URL}/v1/admin/grants`);
    expect(answer.text).toContain(`&#34;consumer_id&#34;:&#34;${consumerId}&#34;`);
    const policy = answer.headers.get('content-security-policy') ?? '';
    const nonce = /'nonce-([^']+)'/.exec(policy)?.[1] ?? '';
    expect(policy).toBe(`default-src 'none'; style-src 'nonce-${nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`);
    expect(answer.text).toContain(`<style nonce="${nonce}">`);
    expect(answer.text).not.toContain('<script');
    expect(answer.headers.get('referrer-policy')).toBe('no-referrer');
  });

  test('200: a project; every answer has a nonce of its own', async () => {
    const path = `/top-up?project=${api.ids.next('prj')}`;
    const [first, second] = await Promise.all([api.call(path), api.call(path)]);
    expect(first.text).toContain('&#34;project_id&#34;');
    expect(first.headers.get('content-security-policy')).not.toBe(second.headers.get('content-security-policy'));
  });

  test.each(['', 'project=x', 'consumer=%3Cscript%3E', 'consumer=con_%00', 'project=prj_01jz8v6c3e4q8r2t5w7y9a0b1c%22'])(
    '400: %j',
    async (query) => {
      const answer = await api.call(`/top-up?${query}`);
      expect(answer.status).toBe(400);
      expect(answer.text).not.toContain('<script>');
    },
  );

  test('escapes whatever it shows', () => {
    const html = noPaymentsContent({
      brand: '<b>&"\'',
      publicBaseUrl: 'https://x/"><script>',
      payer: { field: 'project_id', id: '</code><script>' },
    });
    expect(html).not.toContain('<script');
    expect(html).toContain('&#60;b&#62;&#38;&#34;&#39;');
  });
});
