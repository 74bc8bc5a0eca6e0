import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type BooksApi, startBooksApi } from '../testing/books-api.js';

let api: BooksApi;
beforeAll(async () => {
  api = await startBooksApi();
});
afterAll(() => api.close());

describe('GET /docs', () => {
  test('200: a page that takes everything from this server and inlines nothing', async () => {
    const page = await api.call('/docs');
    expect(page.status).toBe(200);
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    const policy = page.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
    expect(page.text).not.toMatch(/<script>|style=|onload=|https?:\/\//);
    const links = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] ?? '');
    expect(links).toHaveLength(5);
    for (const link of links) {
      expect(link).toMatch(/^\//);
      expect([link, (await api.call(link)).status]).toEqual([link, 200]);
    }
  });

  test('200: scripts and styles have their types and may not be sniffed', async () => {
    const script = await api.call('/docs/assets/swagger-ui-bundle.js');
    expect(script.headers.get('content-type')).toBe('text/javascript; charset=utf-8');
    expect(script.headers.get('x-content-type-options')).toBe('nosniff');
    expect(script.text.length).toBeGreaterThan(500_000);
    expect((await api.call('/docs/assets/swagger-ui.css')).headers.get('content-type')).toBe('text/css; charset=utf-8');
    const playground = await api.call('/docs/assets/playground.js');
    expect(playground.text).toContain('persistAuthorization: true');
    expect(playground.text).toContain('validatorUrl: null');
  });

  test.each(['index.html', 'package.json', '..%2F..%2Fpackage.json', 'swagger-ui-bundle.js.map', '%00'])('404: %s', async (file) => {
    expect((await api.call(`/docs/assets/${file}`)).status).toBe(404);
  });
});
