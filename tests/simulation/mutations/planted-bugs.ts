/** All planted bugs. Each must be caught; one that is not shows what the simulation does not look at. */
import type { Mutation } from './mutation.js';
import { WRONG_PLUMBING } from './wrong-plumbing.js';
import { WRONG_RULES } from './wrong-rules.js';

export const PLANTED_BUGS: readonly Mutation[] = [...WRONG_RULES, ...WRONG_PLUMBING];
