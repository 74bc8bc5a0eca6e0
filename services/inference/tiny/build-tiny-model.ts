/** Rebuilds `farebox-tiny.gguf` from the text in `corpus/`, single-threaded and byte for byte the same every time. Takes a few minutes. */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { TINY_MODEL_PATH } from './tiny-model.js';
import { buildTinyModel } from './tiny-model-builder.js';
import { TINY_MODEL_RECIPE } from './tiny-model-recipe.js';

const STEPS_PER_LINE = 50;

const startedAt = performance.now();
const bytes = buildTinyModel(TINY_MODEL_RECIPE, ({ step, steps, loss }) => {
  if (step % STEPS_PER_LINE !== 0 && step !== steps - 1) return;
  const seconds = (performance.now() - startedAt) / 1000;
  process.stdout.write(`step ${step + 1}/${steps}  loss ${loss.toFixed(3)} nats/token  ${seconds.toFixed(0)} s\n`);
});
writeFileSync(TINY_MODEL_PATH, bytes);
const digest = createHash('sha256').update(bytes).digest('hex');
process.stdout.write(`${TINY_MODEL_PATH.pathname}: ${bytes.length} bytes, sha256 ${digest}\n`);
