/** Where the bundled tiny model lies: the weights that make `npm start` answer without a download. */
import { packageFile } from '../../../platform/package-root.js';

/** The GGUF file, made by `build-tiny-model.ts` and committed, so that an installation needs no training. */
export const TINY_MODEL_PATH: URL = packageFile('services/inference/tiny/farebox-tiny.gguf');
