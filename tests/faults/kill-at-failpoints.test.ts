/**
 * The process dies by kill -9 right before and right after each piece of I/O of a run's life, and lives again on the same data. After each death:
 * what was acknowledged is in the books, no hold is stranded, no key is charged twice, and the next paid success comes within five seconds.
 */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type CrashScene, createCrashScene } from '../support/crash-scene.js';

/** The end of a run is one append of three events: its first and its last stand for all. */
const EVERY_POINT = [
  'store.append.CreditReserved',
  'store.append.UsageRecorded',
  'store.append.ReservationSettled',
  'bus.publish.RunRequested',
  'bus.publish.RunOutput',
  'bus.publish.RunFinished',
  'bus.publish.RunSettled',
].flatMap((point) => [`${point}.before`, `${point}.after`]);

/** Under load, when other runs stand at every other point of their lives. */
const LATER_PASSES = [
  'projector.page.after@5',
  'store.append.CreditReserved.after@40',
  'store.append.ReservationSettled.before@30',
  'bus.publish.RunRequested.after@50',
  'bus.publish.RunSettled.before@60',
];

const CLIENTS = 6;

let scene: CrashScene;
beforeAll(async () => {
  scene = await createCrashScene();
  await scene.deployment.stop();
}, 120_000);
afterAll(() => scene?.close(), 120_000);

describe('killed at', () => {
  test.each([...EVERY_POINT, 'projector.page.after', ...LATER_PASSES])(
    '%s: nothing acknowledged is lost, nothing is charged twice',
    async (point) => {
      await scene.start(point);
      await scene.loadUntilDeath({ clients: CLIENTS });
      await scene.recover();
      await scene.retryUnanswered();
      await scene.expectNothingLost();
      await scene.deployment.kill();
    },
  );

  test.each(['before', 'after'])('store.append.CreditGranted.%s: a grant that is repeated with its id is granted once', async (when) => {
    await scene.recover();
    const before = Number((await scene.client.balance(scene.plain.key)).available);
    await scene.deployment.stop();
    await scene.start(`store.append.CreditGranted.${when}`);
    const grant = () =>
      scene.client.call('/v1/admin/grants', {
        key: scene.deployment.adminKey,
        json: { project_id: scene.plain.projectId, amount: '7', reason: 'Invoice', kind: 'top_up' },
        headers: [['Idempotency-Key', `invoice-${when}`]],
      });
    await expect(grant()).rejects.toThrow();
    await scene.deployment.exited;
    await scene.start();
    expect([(await grant()).status, (await grant()).status]).toEqual([201, 201]);
    expect(Number((await scene.client.balance(scene.plain.key)).available)).toBeCloseTo(before + 7, 6);
    await scene.expectNothingLost();
    await scene.deployment.kill();
  });
});
