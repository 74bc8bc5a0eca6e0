/** The shared language of Farebox. Everything here is pure and imports zod and uuid only. */
export * from './account-events.js';
export * from './account-events-codec.js';
export * from './answer-hash.js';
export * from './answer-schema.js';
export * from './answer-shape.js';
export * from './envelope.js';
export * from './ids.js';
export * from './money.js';
export * from './payment-events.js';
export * from './pricing.js';
export * from './prompt-bound.js';
export * from './run-messages.js';
export * from './streams.js';
export * from './topics.js';
export * from './worker-messages.js';
