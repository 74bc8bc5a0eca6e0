/** What `run-jobs.ts` does in whichever architecture it is started, and what it reports: one line of JSON. */
import { z } from 'zod';
import { RunFinishedSchema, type RunRequested } from '../../events/contract/index.js';

export const JobReportSchema = z.strictObject({
  /** `process.arch` of the process that runs the worker. */
  arch: z.string(),
  nodeVersion: z.string(),
  /** Native files of node-llama-cpp that the worker's child has mapped: what really generates. */
  nativeFiles: z.array(z.string()),
  /** From starting the engines until the worker takes work, warm. */
  startMs: z.number().positive(),
  jobs: z.array(
    z.strictObject({
      name: z.string(),
      /** The pieces of all `RunOutput`, in order. */
      text: z.string(),
      outputs: z.number().int(),
      /** From publishing `RunRequested` to `RunFinished`. */
      durationMs: z.number().positive(),
      finished: RunFinishedSchema,
    }),
  ),
});
export type JobReport = z.infer<typeof JobReportSchema>;
export type JobOutcome = JobReport['jobs'][number];

export type Job = { readonly name: string } & Pick<
  RunRequested,
  'input' | 'sampling' | 'stop' | 'outputTokensBudget' | 'stream' | 'environment'
>;

const GREEDY = { temperature: 0, topP: 1, topK: 0, minP: 0, frequencyPenalty: 0, presencePenalty: 0, seed: 1 };
const SEEDED = { ...GREEDY, temperature: 0.8, seed: 7 };

const chat = (system: string, user: string): Job['input'] => ({
  kind: 'chat',
  messages: [
    { role: 'system', content: system },
    { role: 'user', content: user },
  ],
});

const USUAL: Omit<Job, 'name' | 'input' | 'outputTokensBudget'> = { sampling: GREEDY, stop: [], stream: true, environment: 'live' };
const SEA = chat('You answer briefly.', 'Tell me about the sea, the ships on it and the people who sail them.');

/** Run one after the other, so that both architectures find the same prompts in the cache. */
export const JOBS: readonly Job[] = [
  { ...USUAL, name: 'greedy', input: SEA, outputTokensBudget: 200 },
  { ...USUAL, name: 'seeded', input: SEA, sampling: SEEDED, outputTokensBudget: 64 },
  { ...USUAL, name: 'seeded again', input: SEA, sampling: SEEDED, outputTokensBudget: 64 },
  { ...USUAL, name: 'all kinds of letters', input: chat('Réponds vite.', 'Grüße, 世界 🌊 \u00a0and\ttabs'), outputTokensBudget: 24 },
  { ...USUAL, name: 'not streamed', input: chat('', 'word '.repeat(100)), stream: false, outputTokensBudget: 8 },
  { ...USUAL, name: 'test key', input: SEA, environment: 'test', outputTokensBudget: 16 },
];
