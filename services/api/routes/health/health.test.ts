/** Health, readiness and figures. */
import { expect, test } from '@jest/globals';
import { startChatApi } from '../../testing/chat-api.js';

test('readiness follows what it is told, with reasons; a check that throws is not ready', async () => {
  let check: () => Promise<{ ready: boolean; reasons: string[] }> = async () => ({ ready: true, reasons: [] });
  const api = await startChatApi({ readiness: () => check() });
  expect(await api.call('/readyz', { key: null })).toMatchObject({ status: 200, body: { status: 'ready' } });
  check = async () => ({ ready: false, reasons: ['the model is loading (40 %)'] });
  expect(await api.call('/readyz')).toMatchObject({ status: 503, body: { status: 'not_ready', reasons: ['the model is loading (40 %)'] } });
  check = () => Promise.reject(new Error('store down'));
  expect(await api.call('/readyz')).toMatchObject({ status: 503, body: { reasons: ['store down'] } });
  expect(await api.call('/healthz')).toMatchObject({ status: 200, body: { status: 'ok' } });
  await api.close();
});

test('metrics count requests by route and status, and invent no label from a client’s path', async () => {
  const api = await startChatApi();
  await api.chat();
  await api.chat({ temperature: 9 });
  await api.call('/v1/invented-path');
  const { text, headers } = await api.call('/metrics', { key: null });
  expect(headers['content-type']).toContain('text/plain');
  expect(text).toContain('farebox_http_requests_total{method="post",route="/v1/chat/completions",status="200"} 1');
  expect(text).toContain('farebox_http_requests_total{method="post",route="/v1/chat/completions",status="400"} 1');
  expect(text).toContain('route="unmatched",status="404"');
  expect(text).toContain('farebox_http_request_duration_seconds_bucket');
  expect(text).toContain('farebox_api_runs_in_flight 0');
  expect(text).not.toContain('invented-path');
  await api.close();
});
