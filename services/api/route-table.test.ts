/** Which route a request finds. */
import { expect, test } from '@jest/globals';
import { RouteTable } from './route-table.js';

function table(): RouteTable<string> {
  const routes = new RouteTable<string>();
  routes.add('get', '/v1/models', 'list');
  routes.add('post', '/v1/models', 'create');
  routes.add('get', '/v1/models/*id', 'model');
  routes.add('get', '/v1/requests/:id', 'request');
  routes.add('get', '/v1/requests/:id/explain', 'explain');
  return routes;
}

test.each([
  ['GET', '/v1/models', 'list', {}],
  ['HEAD', '/v1/models', 'list', {}],
  ['POST', '/v1/models', 'create', {}],
  ['GET', '/v1/models/huru/chat-1', 'model', { id: 'huru/chat-1' }],
  ['GET', '/v1/models/huru%2Fchat-1', 'model', { id: 'huru/chat-1' }],
  ['GET', '/v1/requests/req_1', 'request', { id: 'req_1' }],
  ['GET', '/v1/requests/req_1/explain', 'explain', { id: 'req_1' }],
])('%s %s', (method, path, route, params) => {
  expect(table().find(method, path)).toEqual({ status: 'found', route, params });
});

test.each(['/', '/v1', '/v1/models/', '/v1/requests/', '/v1/requests/%E0%A4%A', '/v1/requests/a/b', '//v1/models', '/__proto__'])(
  'nothing at %s',
  (path) => {
    expect(table().find('GET', path)).toEqual({ status: 'not_found' });
  },
);

test('a known path with another method says which would do', () => {
  expect(table().find('DELETE', '/v1/models')).toEqual({ status: 'method_not_allowed', allow: 'GET, POST' });
});

test('two routes for one method and path do not start', () => {
  expect(() => table().add('get', '/v1/requests/:id', 'again')).toThrow('two routes');
});
