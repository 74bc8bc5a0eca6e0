/**
 * The EventStoreDB store keeps the port's promises through the real client: against the double in each of its modes, or against the real
 * server that `ESDB_URL` names.
 */
import { afterAll, beforeAll, describe } from '@jest/globals';
import { pino } from 'pino';
import { describeEventStoreContract } from '../event-store-contract.js';
import { createEventStoreDbStore } from './eventstoredb-store.js';
import { type DoubleMode, type EventStoreDouble, startEventStoreDouble } from './testing/double/event-store-double.js';

const logger = pino({ level: 'silent' });
const realServer = process.env['ESDB_URL'];

if (realServer !== undefined) {
  describeEventStoreContract('eventstoredb, real server', () => createEventStoreDbStore({ connectionString: realServer, logger }));
} else {
  describe.each<DoubleMode>(['default', 'no batch append', 'no server features'])('double: %s', (mode) => {
    let double: EventStoreDouble;
    beforeAll(async () => {
      double = await startEventStoreDouble({ mode });
    });
    afterAll(async () => {
      await double.stop();
    });
    describeEventStoreContract(`eventstoredb, ${mode}`, () =>
      createEventStoreDbStore({ connectionString: double.connectionString, logger }),
    );
  });
}
