import { describe, expect, test } from '@jest/globals';
import { LastRevisions, REMEMBERED_ACCOUNTS_MAX, REMEMBERED_ACCOUNTS_PER_PROJECT_MAX } from './last-revisions.js';

describe('last revisions', () => {
  test('keep the highest, whatever the order in which they come', () => {
    const last = new LastRevisions();
    last.note('acc_a', 7);
    last.note('acc_a', 5);
    expect(last.of('acc_a')).toBe(7);
    expect(last.of('acc_b')).toBeNull();
  });

  test('of a project cover its consumers', () => {
    const last = new LastRevisions();
    last.note('acc_project', 1, 'prj_x');
    last.note('acc_consumer', 4, 'prj_x');
    last.note('acc_stranger', 9, 'prj_y');
    expect(last.ofProject('prj_x')).toEqual([
      { accountId: 'acc_project', revision: 1 },
      { accountId: 'acc_consumer', revision: 4 },
    ]);
    expect(last.ofProject('prj_z')).toEqual([]);
  });

  test('are waited for no more once they were seen, unless something newer has happened since', () => {
    const last = new LastRevisions();
    last.note('acc_a', 3, 'prj_x');
    last.note('acc_b', 3, 'prj_x');
    const waitedFor = last.ofProject('prj_x');
    last.note('acc_b', 4, 'prj_x');
    last.seen(waitedFor);
    expect(last.ofProject('prj_x')).toEqual([{ accountId: 'acc_b', revision: 4 }]);
  });

  test('are bounded, by account and within a project', () => {
    const last = new LastRevisions();
    for (let index = 0; index <= REMEMBERED_ACCOUNTS_MAX; index += 1) last.note(`acc_${index}`, 1, 'prj_x');
    expect(last.of('acc_0')).toBeNull();
    expect(last.of(`acc_${REMEMBERED_ACCOUNTS_MAX}`)).toBe(1);
    expect(last.ofProject('prj_x')).toHaveLength(REMEMBERED_ACCOUNTS_PER_PROJECT_MAX);
  });
});
