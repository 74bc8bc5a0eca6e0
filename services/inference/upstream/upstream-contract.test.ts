/** The upstream engine, alone and behind a failover, by the contract of all engines; the upstream is the echo engine behind real HTTP. */
import { afterAll } from '@jest/globals';
import { systemClock } from '../../../platform/clock.js';
import type { Ask, EngineLimits, EngineUnderTest } from '../engine-contract.js';
import { describeEngineContract } from '../engine-contract.js';
import { failoverEngine } from './failover-engine.js';
import { echoAnswers } from './testing/echo-behind-http.js';
import { type OpenAiServer, startOpenAiServer } from './testing/openai-server.js';
import { engineAt, PLAIN_SAMPLING, runOf, silentLogger, user } from './testing/upstream-under-test.js';

/** 210 tokens of one, two and four bytes a character. Its numbers keep phrases apart, and no stop sequence taken from it halves a character. */
const LONG_TEXT = Buffer.from(Array.from({ length: 100 }, (_, index) => `${index}:é😀 `).join(''))
  .subarray(0, 840)
  .toString('utf8')
  .replace(/\uFFFD+$/u, '');

const ask = (text: string): Ask => ({ messages: [user(text)], sampling: PLAIN_SAMPLING });
const QUESTIONS = {
  long: ask(LONG_TEXT),
  short: ask('A short question?'),
  promptBeyond: (tokens: number) => [user('word '.repeat(tokens))],
  abilities: ['prompts', 'formats', 'tools', 'logprobs', 'embeddings'],
} satisfies Partial<EngineUnderTest>;

const servers: OpenAiServer[] = [];
afterAll(async () => {
  for (const server of servers) await server.close();
});

async function upstreamOf({ slots, queuedMax, contextTokens }: EngineLimits) {
  const server = await startOpenAiServer(echoAnswers(contextTokens));
  servers.push(server);
  return engineAt(server.baseUrl, { contextTokens, target: { concurrentMax: slots, queuedMax } });
}

describeEngineContract('upstream', { makeEngine: upstreamOf, ...QUESTIONS });

describeEngineContract('failover whose first upstream is gone', {
  makeEngine: async (limits) => {
    const gone = await startOpenAiServer(() => {});
    await gone.close();
    const engine = failoverEngine({
      engines: [
        { name: 'gone', engine: engineAt(gone.baseUrl, { target: { name: 'gone' } }) },
        { name: 'near', engine: await upstreamOf(limits) },
      ],
      // Found out by the first run, and not tried again while the suite looks at loads.
      breaker: { failuresMax: 1, openMs: 600_000 },
      clock: systemClock,
      logger: silentLogger,
    });
    await engine.run(runOf());
    return engine;
  },
  ...QUESTIONS,
});
