/**
 * Tests run from the compiled output: what is tested is what ships, child processes included. `npm run build` comes first.
 * `unit` is the quick loop; `system` starts whole processes, real models and the simulation; `storm` kills, stops and fills things up.
 */
const common = {
  roots: ['<rootDir>/dist'],
  transform: {},
  testEnvironment: 'node',
  // One real Postgres server for the whole run; each suite makes a database of its own.
  globalSetup: '<rootDir>/dist/platform/testing/jest-global-setup.js',
  globalTeardown: '<rootDir>/dist/platform/testing/jest-global-teardown.js',
};

const STORM_TESTS = ['/dist/tests/faults/(client-disconnects|disk-full|kill-at-failpoints|kill-under-load|postgres-outage).test.js'];

const SYSTEM_TESTS = [
  '/dist/tests/(distributed|journeys|faults|quickstarts|security|simulation)/',
  '/dist/tests/conformance/(?!coverage)',
  '/dist/events/bus/kafka/',
  '/dist/events/store/eventstoredb/',
  '/dist/platform/postgres/embedded.test.js',
  '/dist/services/inference/(llama|models|tiny|whisper)/',
  '/dist/benchmarks/',
];

export default {
  testTimeout: 120_000,
  projects: [
    { ...common, displayName: 'unit', testMatch: ['**/*.test.js'], testPathIgnorePatterns: ['/node_modules/', ...SYSTEM_TESTS] },
    {
      ...common,
      displayName: 'system',
      testRegex: SYSTEM_TESTS.map((place) => `${place}(.*\\.test\\.js)?$`),
      testPathIgnorePatterns: ['/node_modules/', ...STORM_TESTS],
    },
    { ...common, displayName: 'storm', testRegex: STORM_TESTS },
  ],
};
