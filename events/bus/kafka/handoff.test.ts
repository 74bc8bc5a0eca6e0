/** What the handoff promises beyond the contract: partitions joined, nobody answered early, and an end that waits for the handler. */
import { expect, test } from '@jest/globals';
import { waitFor } from '../../../platform/testing/wait-for.js';
import type { Message, SubscribeOptions } from '../message-bus.js';
import { Handoff } from './handoff.js';

const messageOf = (n: number): Message => ({ key: 'k', type: 'Counted', headers: {}, value: { n } });
const numbersOf = (batch: readonly Message[]) => batch.map((one) => one.value['n'] as number);
const offeredFrom = (first: number, count: number) =>
  Array.from({ length: count }, (_, index) => ({ message: messageOf(first + index), offset: String(first + index) }));

function handoffTo(onMessages: SubscribeOptions['onMessages'], options: Partial<SubscribeOptions> = {}) {
  return new Handoff({ topic: 't', group: 'g', onMessages, ...options });
}

function gate() {
  let open: () => void = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

test('what partitions offer in one turn goes into one call, up to the bound of a batch', async () => {
  const calls: number[][] = [];
  const handled: string[] = [];
  const handoff = handoffTo((batch) => void calls.push(numbersOf(batch)), { batchMax: 4 });
  const offer = (first: number) => handoff.offer({ messages: offeredFrom(first, 3), onHandled: (offset) => handled.push(offset) });
  await Promise.all([offer(0), offer(10)]);
  expect(calls).toEqual([
    [0, 1, 2, 10],
    [11, 12],
  ]);
  expect(handled).toEqual(['2', '10', '12']);
});

test('no offer is answered while a handler runs for another', async () => {
  const { opened, open } = gate();
  const answered: number[] = [];
  const handoff = handoffTo((batch) => (numbersOf(batch).includes(10) ? opened : undefined), { batchMax: 3 });
  const offers = [0, 10].map((first) =>
    handoff.offer({ messages: offeredFrom(first, 3), onHandled: () => {} }).then(() => answered.push(first)),
  );
  const handledFirst = new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  await handledFirst;
  expect([handoff.isWorking, answered]).toEqual([true, []]);
  open();
  await Promise.all(offers);
  expect(answered).toEqual([0, 10]);
});

test('an end lets the handler finish, counts what it did and answers the rest with the reason', async () => {
  const { opened, open } = gate();
  const handled: string[] = [];
  const handoff = handoffTo(() => opened, { batchMax: 2 });
  const offer = handoff.offer({ messages: offeredFrom(0, 4), onHandled: (offset) => handled.push(offset) });
  const refused = expect(offer).rejects.toThrow('rebalance');
  await new Promise((resolve) => setImmediate(resolve));
  handoff.end(new Error('rebalance'));
  open();
  await refused;
  expect([handled, handoff.isWorking]).toEqual([['1'], false]);
});

test('an end without a reason interrupts the pause of a batch that fails, which is not counted', async () => {
  let failures = 0;
  const handled: string[] = [];
  const handoff = handoffTo(() => {
    failures += 1;
    throw new Error('not yet');
  });
  const offer = handoff.offer({ messages: offeredFrom(0, 1), onHandled: (offset) => handled.push(offset) });
  await waitFor(() => failures >= 3, { describe: 'three deliveries' });
  handoff.end(null);
  await offer;
  await handoff.idle();
  expect(handled).toEqual([]);
});

test('poison whose report fails is tried again', async () => {
  let reports = 0;
  const handled: string[] = [];
  const handoff = handoffTo(() => Promise.reject(new Error('never')), {
    attemptsMax: 2,
    onPoison: () => {
      reports += 1;
      if (reports === 1) throw new Error('nowhere to report to');
    },
  });
  await handoff.offer({ messages: offeredFrom(5, 1), onHandled: (offset) => handled.push(offset) });
  expect([reports, handled]).toEqual([2, ['5']]);
});
