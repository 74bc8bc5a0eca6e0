/** Tests run from the compiled output: what is tested is what ships, child processes included. `npm run build` comes first. */
export default {
  roots: ['<rootDir>/dist'],
  globalSetup: '<rootDir>/dist/platform/testing/jest-global-setup.js',
  globalTeardown: '<rootDir>/dist/platform/testing/jest-global-teardown.js',
  testMatch: ['**/*.test.js'],
  transform: {},
  testEnvironment: 'node',
  testTimeout: 60_000,
};
