/** `npm run docs:conformance`: writes docs/conformance.md from the suites. */
import { writeFileSync } from 'node:fs';
import { packageFile } from '../../platform/package-root.js';
import { conformanceDocument, readProofs } from './proofs.js';

writeFileSync(packageFile('docs/conformance.md'), conformanceDocument(readProofs()));
