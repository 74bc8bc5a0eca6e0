import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { loadPreset } from '../../../../presets/load-preset.js';
import { ADMIN_KEY, type BooksApi, startBooksApi } from '../../testing/books-api.js';

let api: BooksApi;
beforeAll(async () => {
  const production = { sliding_window: { requests_per_minute: 6_000, burst: 6_000 } };
  api = await startBooksApi({ preset: { ...loadPreset('farebox'), plans: { production } } });
});
afterAll(() => api.close());

const setPlan = (projectId: string, json: unknown, key = ADMIN_KEY) => api.call(`/v1/admin/projects/${projectId}/plan`, { key, json });
/** The directory may know a key for up to a second; a key that was just made is not known yet. */
const limitShownTo = async (key: string) => (await api.call('/v1/balance', { key })).headers.get('x-ratelimit-limit');

describe('POST /v1/admin/projects/:id/plan', () => {
  test('200: the project’s keys have the plan’s limits, and those of everybody again when it is taken back', async () => {
    const { projectId, key } = await api.signUp('Planned');
    expect(await setPlan(projectId, { plan: 'production' })).toMatchObject({
      status: 200,
      body: { object: 'project_plan', project_id: projectId, plan: 'production' },
    });
    expect(await limitShownTo(key)).toBe('6000');
    expect((await setPlan(projectId, { plan: null })).body.plan).toBeNull();
    expect((await api.directory.project(projectId))?.plan).toBeUndefined();
  });

  test('other projects keep theirs', async () => {
    const { projectId } = await api.signUp('Planned too');
    await setPlan(projectId, { plan: 'production' });
    expect(await limitShownTo((await api.signUp('Unplanned')).key)).toBe('600');
  });

  test.each([
    ['a plan that the offer does not have', { plan: 'gold' }, /There is no such plan. The plans are production./],
    ['no plan at all', {}, /plan/],
    ['something else than a name', { plan: 7 }, /plan/],
    ['a name without end', { plan: 'p'.repeat(10_000) }, /plan/],
    ['a name that objects have by themselves', { plan: 'constructor' }, /There is no such plan/],
  ])('400: %s', async (_name, body, message) => {
    const { projectId } = await api.signUp(`Refused ${_name}`);
    const answer = await setPlan(projectId, body);
    expect(answer).toMatchObject({ status: 400, body: { error: { message: expect.stringMatching(message) } } });
    expect((await api.directory.project(projectId))?.plan).toBeUndefined();
  });

  test('404: a project that does not exist, and what is no project’s id', async () => {
    expect((await setPlan(api.ids.next('prj'), { plan: 'production' })).status).toBe(404);
    expect((await setPlan('everybody', { plan: 'production' })).status).toBe(404);
  });

  test('only the admin may', async () => {
    const { projectId, key } = await api.signUp('Curious');
    expect((await setPlan(projectId, { plan: 'production' }, key)).status).toBe(403);
    expect((await api.directory.project(projectId))?.plan).toBeUndefined();
  });
});
