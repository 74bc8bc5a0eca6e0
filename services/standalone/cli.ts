#!/usr/bin/env node
/** The `farebox` command line: which command, with which arguments. What a command does lies in `commands/`. */
import { rebuild, verify } from './commands/books.js';
import { listModels, pullModel } from './commands/models.js';
import { reconcile } from './commands/payments.js';
import { start } from './commands/start.js';
import { createAllTopics } from './commands/topics.js';
import { type Output, verifyReceipt } from './commands/verify-receipt.js';

const USAGE = `farebox <command>

  start               run the embedded deployment (the same as npm start)
  rebuild             build all views anew from the event store
  verify              compare the views with the event store and print every difference
  verify <receipt>    check a receipt without asking anybody; see docs/verification.md
  payments reconcile  hold the payments against the provider's list; --days 7
  models list         the preset's models, and which weights are here
  models pull <id>    download a model's weights
  topics create       make the Kafka topics of the distributed deployment

Settings come from the environment; docs/operations.md lists them.
`;

/** Exit code of a command line that names no command. */
const EXIT_USAGE = 2;

const TERMINAL: Output = {
  out: (text) => void process.stdout.write(text),
  error: (text) => void process.stderr.write(text),
};

async function run([command, ...words]: readonly string[]): Promise<number> {
  const [action, id] = words;
  if (command === 'start') return start(process.env);
  if (command === 'rebuild') return rebuild(process.env);
  if (command === 'verify' && words.length === 0) return verify(process.env);
  if (command === 'verify') return verifyReceipt(words, TERMINAL);
  if (command === 'payments' && action === 'reconcile') return reconcile(process.env, words.slice(1));
  if (command === 'models' && action === 'list') return listModels(process.env);
  if (command === 'models' && action === 'pull' && id !== undefined) return pullModel(process.env, id);
  if (command === 'topics' && action === 'create') return createAllTopics(process.env);
  const isAsked = command === 'help' || command === '--help';
  (isAsked ? process.stdout : process.stderr).write(USAGE);
  return isAsked ? 0 : EXIT_USAGE;
}

run(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.stderr.write(`farebox: ${(error as Error).message}\n`);
    process.exitCode = 1;
  },
);
