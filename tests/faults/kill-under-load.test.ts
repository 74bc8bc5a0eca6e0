/** Plain kill -9 while twenty clients are at it, several times over. Clients retry as they are told to. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type CrashScene, createCrashScene } from '../support/crash-scene.js';

const CLIENTS = 20;
/** Answers after which the process is killed: early, and well under way. */
const DEATHS = [1, 60, 200];

let scene: CrashScene;
beforeAll(async () => {
  scene = await createCrashScene();
}, 120_000);
afterAll(() => scene?.close(), 120_000);

describe('kill -9 under the load of 20 clients', () => {
  test.each(DEATHS)('after %i answers: nothing acknowledged is lost, nothing is charged twice, no hold is stranded', async (answers) => {
    await scene.loadUntilDeath({ clients: CLIENTS, dieWhen: (answered) => answered >= answers });
    await scene.recover();
    await scene.retryUnanswered();
    await scene.expectNothingLost();
  });

  test('a second kill while the first is being recovered from changes nothing', async () => {
    await scene.loadUntilDeath({ clients: CLIENTS, dieWhen: (answered) => answered >= 20 });
    const interrupted = scene.start().catch((error: unknown) => error);
    await scene.deployment.kill();
    expect(await interrupted).toBeInstanceOf(Error);
    await scene.recover();
    await scene.retryUnanswered();
    await scene.expectNothingLost();
  });
});
