/** Never two leaders at once while the server answers, and never none for long. On a real server. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { createTestDatabase, type TestDatabase } from '../testing/postgres-for-tests.js';
import { waitFor } from '../testing/wait-for.js';
import { type Leadership, standForLeadership } from './leadership.js';

const LOCK = 4_711;

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const standing: Leadership[] = [];
afterEach(async () => {
  await Promise.all(standing.splice(0).map((one) => one.stop()));
});

function candidate(name: string, begun: string[], lead: () => Promise<void> = async () => undefined) {
  const leadership = standForLeadership({
    connectionString: database.connectionString,
    lock: LOCK,
    name,
    logger: pino({ level: 'silent' }),
    async lead() {
      await lead();
      begun.push(name);
      return { stop: async () => void begun.push(`${name} ends`) };
    },
  });
  standing.push(leadership);
  return leadership;
}

test('of three candidates one leads; when it stops, another does, and its work has ended before', async () => {
  const begun: string[] = [];
  const candidates = ['a', 'b', 'c'].map((name) => candidate(name, begun));
  await waitFor(() => begun.length === 1, { describe: 'a leader' });
  expect(candidates.filter(({ isLeader }) => isLeader)).toHaveLength(1);
  await candidates.find(({ isLeader }) => isLeader)?.stop();
  await waitFor(() => begun.length === 3, { describe: () => `a successor; ${begun.join(', ')}` });
  expect(begun[1]).toBe(`${begun[0]} ends`);
  expect(begun[2]).not.toBe(begun[0]);
  expect(candidates.filter(({ isLeader }) => isLeader)).toHaveLength(1);
});

test('a leader whose session is lost ends its work and stands again', async () => {
  const begun: string[] = [];
  const only = candidate('lonely', begun);
  await waitFor(() => only.isLeader, { describe: 'the leader' });
  await database.pool.query(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'lonely'`);
  await waitFor(() => begun.length === 3, { describe: () => `a second term; ${begun.join(', ')}` });
  expect(begun).toEqual(['lonely', 'lonely ends', 'lonely']);
});

test('work that cannot begin gives the lock to another', async () => {
  const begun: string[] = [];
  candidate('unable', begun, () => Promise.reject(new Error('cannot')));
  const able = candidate('able', begun);
  await waitFor(() => able.isLeader, { describe: 'the able one' });
  expect(begun).toEqual(['able']);
});
